"""Checkpoints that are quantized already: what they are, and what computes with them."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from transformers import PretrainedConfig

from sum_assets.errors import UnsupportedError, first_line
from sum_assets.summarizer.engine_registry import EngineSpec
from sum_assets.summarizer.types import Device, Precision, Quantization

#: The distribution that computes with the weights of each method which we know, or None where transformers does.
_LIBRARIES: dict[str, str | None] = {
    "aqlm": "aqlm",
    "auto-round": "auto-round",
    "awq": "gptqmodel",
    "bitnet": None,
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "eetq": "kernels",
    "fp8": "kernels",
    "gptq": "gptqmodel",
    "hqq": "hqq",
    "mxfp4": "kernels",
    "quanto": "optimum-quanto",
    "torchao": "torchao",
}


def quantization_of(config: PretrainedConfig) -> str | None:
    """Return how a checkpoint is quantized already, such as "bitsandbytes nf4"; None where it is not."""
    settings = _settings(config)
    if settings is None:
        return None
    method = _method(settings)
    if settings.get("load_in_8bit"):
        return f"{method} int8"
    kind = settings.get("bnb_4bit_quant_type") if method == "bitsandbytes" else None
    bits = settings.get("bits") or settings.get("w_bit")
    return f"{method} {kind or (f'{bits} bits' if bits else '')}".strip()


def library_of(config: PretrainedConfig) -> str | None:
    """Return the distribution that computes with a quantized checkpoint."""
    settings = _settings(config)
    return _LIBRARIES.get(_method(settings)) if settings else None


def check_checkpoint_quantization(
    config: PretrainedConfig,
    model: str,
    spec: EngineSpec,
    quantization: Quantization,
    precision: Precision,
    device: Device | None,
) -> None:
    """Raise UnsupportedError where a checkpoint is quantized already, and would not be held as it is.

    `device` is None where it is not one of this host.
    """
    found = quantization_of(config)
    if found is None:
        return
    if quantization != "none":
        raise UnsupportedError(
            f"quantization {quantization}: {model} is quantized already ({found}). Set quantization: none."
        )
    if not spec.quantizes_in_torch:
        raise UnsupportedError(
            f"engine {spec.name} does not hold {model}, which is quantized already ({found}). Set engine: transformers."
        )
    settings = _settings(config)
    assert settings is not None
    method = _method(settings)
    if method not in _LIBRARIES:
        raise UnsupportedError(
            f"model: {model} is quantized as {method}, which sum_assets does not know. Name a checkpoint that is not "
            f"quantized, or one of {', '.join(sorted(_LIBRARIES))}."
        )
    library = _LIBRARIES[method]
    if library and not _installed(library):
        raise UnsupportedError(
            f"model: {model} is quantized as {found}, and {library} is not installed. `pip install {library}`."
        )
    if device is None:
        return
    # Importing it brings torchao in, which takes long and prints warnings.
    from transformers.quantizers.auto import AutoHfQuantizer

    try:
        quantizer = AutoHfQuantizer.from_config(dict(settings), pre_quantized=True)
        quantizer.validate_environment(device_map={"": device.torch_name}, dtype=getattr(torch, precision))
    except Exception as error:  # each method has its own
        raise UnsupportedError(
            f"model: {model} is quantized as {found}, which {device.name} cannot serve: {first_line(error)}"
        ) from error
    if getattr(quantizer.quantization_config, "dequantize", False) and not settings.get("dequantize"):
        raise UnsupportedError(
            f"model: {model} is quantized as {found}, for which {device.name} has no kernels. Name a checkpoint that "
            "is not quantized."
        )


def _settings(config: PretrainedConfig) -> dict[str, Any] | None:
    settings = getattr(config, "quantization_config", None)
    if not settings:
        return None
    return settings if isinstance(settings, dict) else dict(settings.to_dict())


def _method(settings: dict[str, Any]) -> str:
    """Return the method's name. Older checkpoints of bitsandbytes do not name it."""
    if settings.get("load_in_8bit") or settings.get("load_in_4bit"):
        return "bitsandbytes"
    method = settings.get("quant_method", "an unnamed method")
    return str(getattr(method, "value", method))


def _installed(library: str) -> bool:
    try:
        version(library)
    except PackageNotFoundError:
        return False
    return True
