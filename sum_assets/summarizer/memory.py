"""Predicts the memory of the workers on a device, so that too many are refused before any is started."""

from dataclasses import dataclass

import psutil
import torch
from transformers import PretrainedConfig

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.model_work import model_on_meta
from sum_assets.summarizer.types import Device, Precision, Quantization

#: Bytes that a process takes before it loads a model: torch's libraries and, on a GPU, its context.
OVERHEAD = 2**29
BITS = {"none": None, "int8": 8, "torchao_int8": 8, "nf4": 4, "fp4": 4}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The least memory of one worker, in bytes."""

    weights: int
    kv_cache: int

    @property
    def total(self) -> int:
        """Weights, KV cache and the overhead of a process."""
        return self.weights + self.kv_cache + OVERHEAD


def predict(config: PretrainedConfig, precision: Precision, quantization: Quantization, tokens: int) -> MemoryEstimate:
    """Return the least memory of a worker for a batch of `tokens` tokens, input and output.

    It leaves out activations, which depend on the engine. A batch that does not fit is halved.
    """
    size = getattr(torch, precision).itemsize
    model = model_on_meta(config)
    parameters = sum(p.numel() for p in model.parameters())
    embedded = model.get_input_embeddings().weight.numel()
    bits = BITS[quantization]
    weights = parameters * size if bits is None else embedded * size + (parameters - embedded) * bits // 8
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return MemoryEstimate(weights, 2 * text.num_hidden_layers * heads * width * size * tokens)


def check_memory(estimate: MemoryEstimate, device: Device, workers: int) -> None:
    """Raise UnsupportedError if a device has less memory than so many workers estimate."""
    if device.memory_bytes is not None:
        available = device.memory_bytes
    elif device.kind == "cpu":
        available = psutil.virtual_memory().available
    else:
        return
    if workers * estimate.total > available:
        fits = available // estimate.total
        raise UnsupportedError(
            f"workers_per_device {workers}: {_gib(estimate.weights)} of weights, {_gib(estimate.kv_cache)} of KV "
            f"cache and {_gib(OVERHEAD)} of libraries for each make {_gib(workers * estimate.total)}, and "
            f"{device.name} has {_gib(available)}. Set workers_per_device: {max(fits, 1)}, or a smaller batch_size."
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
