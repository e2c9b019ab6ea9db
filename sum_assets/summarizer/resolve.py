"""Turns settings into decisions, and decisions into a fingerprint."""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer.devices import (
    Device,
    check_cuda_graphs,
    check_quantization,
    choose_attention,
    choose_precision,
    find_device,
    find_devices,
    quantization_library,
)
from sum_assets.summarizer.environments import LIBRARIES, python_of, versions_of
from sum_assets.summarizer.memory import check_memory, predict
from sum_assets.summarizer.models import ModelFiles, find_model
from sum_assets.summarizer.settings import (
    LEAD_SENTENCES,
    Attention,
    Engine,
    GpuSettings,
    Precision,
    Quantization,
    SummarizerSettings,
)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Every choice made: no `auto` is left."""

    device: Device
    batch_size: int

    def text_settings(self) -> dict[str, Any]:
        """Return all that can change a summary's text; in float32, batch size and device do not."""
        raise NotImplementedError

    def all_settings(self) -> dict[str, Any]:
        """Return the text settings and those that cannot change a text."""
        return {"device": self.device.torch_name, "batch_size": self.batch_size, **self.text_settings()}

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the text settings as sorted JSON."""
        text = json.dumps(self.text_settings(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class ResolvedLead(Resolved):
    """The choices of the engine `lead`, which has no model."""

    def text_settings(self) -> dict[str, Any]:
        """Return what there is: the number of sentences."""
        return {"engine": "lead", "sentences": LEAD_SENTENCES}


@dataclass(frozen=True, kw_only=True)
class ResolvedModel(Resolved):
    """The choices of an engine with a model. `attention` is None where it is the engine's own."""

    engine: Engine
    settings: SummarizerSettings
    files: ModelFiles
    precision: Precision
    quantization: Quantization
    attention: Attention | None
    cuda_graphs: bool
    batch_tokens: int | None
    devices: tuple[Device, ...]
    workers_per_device: int
    threads_per_worker: int | None
    ray_address: str | None

    @property
    def places(self) -> list[Device]:
        """The device of each worker."""
        return [device for device in self.devices for _ in range(self.workers_per_device)]

    @property
    def continuous(self) -> bool:
        """Whether the engine takes up the next input when one ends, rather than batch after batch."""
        return self.engine in LIBRARIES

    @property
    def encoder_decoder(self) -> bool:
        """Whether the model is sequence-to-sequence, rather than causal."""
        return bool(self.files.config.is_encoder_decoder)

    def text_settings(self) -> dict[str, Any]:
        """Return the model, its prompt and limits, how it computes, and the libraries' versions."""
        if self.engine == "transformers":
            libraries = ["transformers", "torch"]
            if self.quantization != "none":
                libraries.append(quantization_library(self.quantization))
            # Local tags such as +cpu and +cu118 name the device.
            versions = {library: version(library).partition("+")[0] for library in libraries}
        elif self.engine == "ctranslate2":
            versions = {"ctranslate2": version("ctranslate2")}
        else:
            versions = versions_of(self.engine)
        return {
            "engine": self.engine,
            "model_revision": self.files.revision,
            **self.settings.model_dump(exclude={"model", "revision"}),
            "precision": self.precision,
            "quantization": self.quantization,
            "attention": self.attention,
            "versions": versions,
        }

    def all_settings(self) -> dict[str, Any]:
        """Return the text settings, the model's name, and those that cannot change a text."""
        found = {
            "model": self.settings.model,
            "batch_tokens": self.batch_tokens,
            "workers_per_device": self.workers_per_device,
            "threads_per_worker": self.threads_per_worker,
            **super().all_settings(),
        }
        if self.cuda_graphs:
            found["cuda_graphs"] = True
        if self.ray_address:
            return found | {"ray_address": self.ray_address, "device": self.device.kind}
        if len(self.devices) > 1:
            del found["device"]
            found["devices"] = [device.torch_name for device in self.devices]
        return found


def resolve(gpu: GpuSettings, settings: SummarizerSettings) -> Resolved:
    """Make every choice; see `sum_assets.summarizer.resolve_settings`."""
    if gpu.engine == "lead":
        if gpu.devices or gpu.workers_per_device > 1 or gpu.ray_address:
            raise UnsupportedError("engine lead has no model to share out. Leave out devices, workers and Ray.")
        return ResolvedLead(device=find_device("cpu"), batch_size=gpu.batch_size)
    devices = _devices(gpu)
    device = devices[0]
    quantization = gpu.quantization
    for each in devices:
        if gpu.engine != "transformers":
            check_engine(gpu, each, settings)
        else:
            check_quantization(gpu.quantization, each)
            if gpu.cuda_graphs:
                check_cuda_graphs(each, gpu.quantization)
    files = find_model(settings.model, settings.revision)
    config = files.config
    auto_class = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if type(config) not in auto_class._model_mapping:
        raise UnsupportedError(
            f"model: {settings.model} is a {config.model_type}, which neither summarizes sequence to sequence nor "
            "generates as a causal model."
        )
    if gpu.engine == "vllm" and config.is_encoder_decoder:
        raise UnsupportedError(f"engine vllm: {settings.model} is no causal model. Set engine: transformers.")
    if gpu.engine == "ctranslate2" and not config.is_encoder_decoder:
        raise UnsupportedError(
            f"engine ctranslate2: {settings.model} is not sequence to sequence. Set engine: transformers."
        )
    model_class = auto_class._model_mapping[type(config)]
    precision = choose_precision(gpu.precision, device, config.model_type)
    for other in devices[1:]:  # what the first would take by itself must be right for all
        choose_precision(precision, other, config.model_type)
    if gpu.engine == "ctranslate2":
        precision = _ctranslate2_precision(gpu, device, precision)
    attention = (
        None
        if gpu.engine != "transformers"
        else choose_attention(
            gpu.attention,
            device,
            precision,
            has_sdpa=bool(getattr(model_class, "_supports_sdpa", False)),
            has_flash=bool(getattr(model_class, "_supports_flash_attn", False)),
        )
    )
    _check_limits(settings, config)
    if gpu.workers_per_device > 1:
        tokens = gpu.batch_tokens or gpu.batch_size * (settings.max_input_tokens + settings.max_output_tokens)
        need = predict(config, precision, quantization, tokens)
        for each in devices:
            check_memory(need, each, gpu.workers_per_device)
    return ResolvedModel(
        engine=gpu.engine,
        settings=settings,
        files=files,
        device=device,
        precision=precision,
        quantization=quantization,
        attention=attention,
        cuda_graphs=gpu.cuda_graphs,
        batch_size=gpu.batch_size,
        batch_tokens=gpu.batch_tokens,
        devices=devices,
        workers_per_device=gpu.workers_per_device,
        threads_per_worker=gpu.threads_per_worker,
        ray_address=gpu.ray_address,
    )


def _devices(gpu: GpuSettings) -> tuple[Device, ...]:
    """Return the devices of a run: those here that it names, or those of a cluster."""
    if gpu.ray_address:
        if importlib.util.find_spec("ray") is None:
            raise UnsupportedError("ray_address: Ray is not installed. `pip install 'sum-assets[ray]'`.")
        from sum_assets.summarizer.ray_devices import cluster_devices

        return cluster_devices(gpu.ray_address, gpu.device)
    return find_devices(gpu.devices) if gpu.devices else (find_device(gpu.device),)


def check_engine(gpu: GpuSettings, device: Device, settings: SummarizerSettings) -> None:
    """Raise UnsupportedError where an engine other than transformers is missing or cannot serve a setting."""
    engine = gpu.engine
    if engine in LIBRARIES:
        python_of(engine)
        if gpu.batch_tokens is not None:
            raise UnsupportedError(f"batch_tokens: engine {engine} fills its batches itself. Set batch_size.")
        if settings.num_beams > 1:
            raise UnsupportedError(f"num_beams {settings.num_beams}: engine {engine} is greedy. Set num_beams: 1.")
    elif importlib.util.find_spec(engine) is None:
        raise UnsupportedError(f"engine {engine} is not installed. `pip install 'sum-assets[{engine}]'`.")
    if engine == "openvino" and device.kind != "cpu":
        raise UnsupportedError(f"engine openvino serves the CPU, not {device.name}. Set device: cpu.")
    if engine == "ctranslate2" and device.kind == "mps":
        raise UnsupportedError("engine ctranslate2 has nothing for mps. Set device: cpu.")
    known = ("none",) if engine == "vllm" else ("none", "int8")
    if gpu.quantization not in known:
        raise UnsupportedError(f"quantization {gpu.quantization}: engine {engine} has {' and '.join(known)}.")
    if gpu.attention != "auto":
        raise UnsupportedError(f"attention {gpu.attention}: engine {engine} has its own. Set auto.")
    if gpu.cuda_graphs:
        raise UnsupportedError(f"cuda_graphs: engine {engine} decides about them by itself. Leave it out.")


def _ctranslate2_precision(gpu: GpuSettings, device: Device, precision: Precision) -> Precision:
    """Return what CTranslate2 computes in: `auto` falls back to float32 where it lacks what torch has."""
    import ctranslate2

    has = ctranslate2.get_supported_compute_types(device.kind, device.index or 0)
    prefix = "int8_" if gpu.quantization == "int8" else ""
    if prefix + precision in has:
        return precision
    if gpu.precision == "auto" and f"{prefix}float32" in has:
        return "float32"
    raise UnsupportedError(
        f"precision {precision}, quantization {gpu.quantization}: ctranslate2 on {device.name} has "
        f"{', '.join(sorted(has))}. Set precision: float32."
    )


def _check_limits(settings: SummarizerSettings, config: Any) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return
    needed = settings.max_input_tokens
    if not config.is_encoder_decoder:
        needed += settings.max_output_tokens
    if needed > positions:
        raise UserError(
            f"max_input_tokens {settings.max_input_tokens} (and max_output_tokens {settings.max_output_tokens}) "
            f"exceed the {positions} positions of {settings.model}. Lower them."
        )
