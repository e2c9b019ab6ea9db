"""Turns settings into decisions."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import engine_environments as environments
from sum_assets.summarizer.batch_size import choose_batch
from sum_assets.summarizer.checkpoint_quantization import check_checkpoint_quantization
from sum_assets.summarizer.devices import (
    check_cuda_graphs,
    check_quantization,
    choose_attention,
    choose_precision,
    find_device,
    find_devices,
)
from sum_assets.summarizer.engine_registry import ENGINES, EngineSpec, import_attribute
from sum_assets.summarizer.generation_rules import check_start_token, generation_rules, stop_tokens
from sum_assets.summarizer.memory import check_memory, predict
from sum_assets.summarizer.model_files import ModelFiles, find_model, load_tokenizer
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.positions import check_positions
from sum_assets.summarizer.prompts import open_encoder
from sum_assets.summarizer.types import Architecture, Attention, Device, Precision
from sum_assets.summarizer.user_settings import GpuSettings, SummarizerSettings

#: Families whose state is a list that `generate` does not reorder with the beams.
_WITHOUT_BEAMS = frozenset({"rwkv", "xlstm"})


def resolve(
    gpu: GpuSettings,
    settings: SummarizerSettings,
    devices: tuple[Device, ...] | None = None,
    find: Callable[[str, str], ModelFiles] = find_model,
) -> ModelSettings:
    """Make every choice for an engine with a model; see `sum_assets.summarizer.resolve_settings`.

    `devices` take the place of those that the settings name: they need not be here. `find` takes that of `find_model`,
    for a caller that asks about one model many times.
    """
    spec = ENGINES[gpu.engine]
    devices = _devices(gpu) if devices is None else devices
    for device in devices:
        check_engine(spec, gpu, device, settings)
    files = find(settings.model, settings.revision)
    model_class = _model_class(files, settings.model)
    _check_architecture(spec, files, settings.model)
    rules = _rules(spec, files, settings)
    precision = _precision(spec, gpu, devices, files.config.model_type)
    check_checkpoint_quantization(
        files.config,
        settings.model,
        spec,
        gpu.quantization,
        precision,
        None if gpu.ray_address else devices[0],
    )
    attention = _attention(spec, gpu, devices[0], precision, model_class)
    check_positions(settings, files.config)
    batch_size, batch_tokens = choose_batch(gpu, settings, spec, files.config, precision, devices)
    if gpu.workers_per_device > 1:
        rows = 1 if spec.queues_on(devices[0]) else batch_size
        tokens = batch_tokens or rows * (settings.max_input_tokens + settings.max_output_tokens)
        need = predict(files.config, precision, gpu.quantization, tokens)
        for device in devices:
            check_memory(need, device, gpu.workers_per_device)
    tokenizer = load_tokenizer(files)
    encoder = open_encoder(tokenizer, settings, encoder_decoder=files.config.is_encoder_decoder)
    stop_tokens(files, tokenizer)  # there is one
    check_start_token(files)
    resolved = ModelSettings(
        engine=gpu.engine,
        settings=settings,
        files=files,
        device=devices[0],
        precision=precision,
        quantization=gpu.quantization,
        attention=attention,
        rules=rules,
        batches="any lengths",
        cuda_graphs=_cuda_graphs(spec, gpu, devices[0]),
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        devices=devices,
        workers_per_device=gpu.workers_per_device,
        threads_per_worker=gpu.threads_per_worker,
        ray_address=gpu.ray_address,
        engine_options=gpu.engine_options,
        prompt_head=tuple(encoder.head),
        prompt_tail=tuple(encoder.tail),
    )
    if not spec.chooses_batches:
        return resolved
    return replace(resolved, batches=import_attribute(spec.chooses_batches)(resolved))


def _devices(gpu: GpuSettings) -> tuple[Device, ...]:
    """Return the devices of a run: those here that it names, or those of a cluster."""
    if gpu.ray_address:
        if importlib.util.find_spec("ray") is None:
            raise UnsupportedError("ray_address: Ray is not installed. `pip install 'sum-assets[ray]'`.")
        from sum_assets.summarizer.ray_devices import cluster_devices

        return cluster_devices(gpu.ray_address, gpu.device)
    return find_devices(gpu.devices) if gpu.devices else (find_device(gpu.device),)


def check_engine(spec: EngineSpec, gpu: GpuSettings, device: Device, settings: SummarizerSettings) -> None:
    """Raise UnsupportedError where an engine is missing or cannot serve a setting, whatever the model."""
    name = spec.name
    if device.kind not in spec.devices:
        raise UnsupportedError(
            f"engine {name} serves {' and '.join(spec.devices)}, not {device.name}. Set device: {spec.devices[0]}."
        )
    if not spec.serves(device):
        needed, (major, minor) = spec.capability or (0, 0), device.capability or (0, 0)
        raise UnsupportedError(
            f"engine {name} needs compute capability {needed[0]}.{needed[1]}, {device.name} has {major}.{minor}. "
            "Set engine: transformers."
        )
    if spec.environment:
        environments.python_of(name, device.kind)
    elif spec.module and importlib.util.find_spec(spec.module) is None:
        raise UnsupportedError(f"engine {name} is not installed. `pip install 'sum-assets[{spec.extra}]'`.")
    if gpu.batch_tokens is not None and "batch_tokens" not in spec.settable:
        raise UnsupportedError(f"batch_tokens: engine {name} fills its batches itself. Set batch_size.")
    if settings.num_beams > 1 and not any("num_beams" in rules for rules in spec.rules.values()):
        raise UnsupportedError(f"num_beams {settings.num_beams}: engine {name} is greedy. Set num_beams: 1.")
    if gpu.quantization not in spec.quantizations:
        raise UnsupportedError(
            f"quantization {gpu.quantization}: engine {name} has {' and '.join(spec.quantizations)}."
        )
    if spec.quantizes_in_torch:
        check_quantization(gpu.quantization, device)
    if gpu.attention != "auto" and "attention" not in spec.settable:
        raise UnsupportedError(f"attention {gpu.attention}: engine {name} has its own. Set auto.")
    if gpu.cuda_graphs:
        if "cuda_graphs" not in spec.settable:
            raise UnsupportedError(f"cuda_graphs: engine {name} decides about them by itself. Leave it out.")
        check_cuda_graphs(device, gpu.quantization)
    for option in gpu.engine_options:
        if device.kind not in (kinds := spec.options[option].devices):
            raise UnsupportedError(
                f"engine_options: {option} is for {' and '.join(kinds)}, not {device.name}. Leave it out."
            )


def _cuda_graphs(spec: EngineSpec, gpu: GpuSettings, device: Device) -> bool | None:
    """Return whether steps are captured; None means that the engine tries it."""
    if gpu.cuda_graphs is not None:
        return gpu.cuda_graphs
    if "cuda_graphs" not in spec.settable:
        return False
    try:
        check_cuda_graphs(device, gpu.quantization)
    except UnsupportedError:
        return False
    return None


def architecture_of(files: ModelFiles) -> Architecture:
    """Return the kind of a model."""
    return "sequence-to-sequence" if files.config.is_encoder_decoder else "causal"


def _model_class(files: ModelFiles, model: str) -> Any:
    """Return transformers' class of a model. Raises UnsupportedError for one that does not write text."""
    config = files.config
    auto_class: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if type(config) not in auto_class._model_mapping:
        raise UnsupportedError(
            f"model: {model} is a {config.model_type}, which neither summarizes sequence to sequence nor generates "
            "as a causal model. Name another model."
        )
    return auto_class._model_mapping[type(config)]


def _check_architecture(spec: EngineSpec, files: ModelFiles, model: str) -> None:
    if architecture_of(files) not in spec.architectures:
        raise UnsupportedError(
            f"engine {spec.name}: {model} is not a {' or '.join(spec.architectures)} model. Set engine: transformers."
        )


def _rules(spec: EngineSpec, files: ModelFiles, settings: SummarizerSettings) -> dict[str, Any]:
    """Return the rules of the model's generation settings. Raises UnsupportedError for one the engine would drop."""
    applied = spec.rules[architecture_of(files)]
    rules = generation_rules(files, settings.num_beams)
    if settings.num_beams > 1 and files.config.model_type in _WITHOUT_BEAMS:
        raise UnsupportedError(
            f"num_beams {settings.num_beams}: {settings.model} is a {files.config.model_type}, whose state "
            "transformers cannot move from beam to beam. Set num_beams: 1."
        )
    for rule, value in rules.items():
        if rule not in applied:
            raise UnsupportedError(
                f"engine {spec.name} does not apply {rule}, which {settings.model} sets to {value} in its generation "
                "settings. Set engine: transformers."
            )
    return rules


def _precision(spec: EngineSpec, gpu: GpuSettings, devices: tuple[Device, ...], model_type: str) -> Precision:
    precision = choose_precision(gpu.precision, devices[0], model_type)
    for other in devices[1:]:  # what the first would take by itself must be right for all
        choose_precision(precision, other, model_type)
    if spec.chooses_precision:
        choose = import_attribute(spec.chooses_precision)
        return cast(Precision, choose(precision, devices[0], gpu.quantization, may_fall_back=gpu.precision == "auto"))
    return precision


def _attention(
    spec: EngineSpec, gpu: GpuSettings, device: Device, precision: Precision, model_class: Any
) -> Attention | None:
    if "attention" not in spec.settable:
        return None
    return choose_attention(
        gpu.attention,
        device,
        precision,
        has_sdpa=bool(getattr(model_class, "_supports_sdpa", False)),
        has_flash=bool(getattr(model_class, "_supports_flash_attn", False)),
    )
