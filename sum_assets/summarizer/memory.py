"""Predicts the memory of workers and batches on a device, before any is started."""

from dataclasses import dataclass

import psutil
import torch
from transformers import PretrainedConfig

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.model_work import model_on_meta
from sum_assets.summarizer.types import Device, Precision, Quantization

#: Bytes that a process takes before it loads a model: torch's libraries and, on a GPU, its context.
OVERHEAD = 2**29
#: Bytes for each word of the vocabulary and row: its logit as the model computes it, in float32, and under the rules.
_LOGIT_BYTES = 12
#: The share of a device's memory that is planned for. The rest is for activations, allocators and other programs.
_PLANNED = 0.75
#: What `_count_parameters` has counted: `doctor` resolves dozens of settings for one model.
_counted: dict[str, tuple[int, int]] = {}
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
    parameters, embedded = _count_parameters(config)
    bits = BITS[quantization]
    weights = parameters * size if bits is None else embedded * size + (parameters - embedded) * bits // 8
    text = config.get_text_config(decoder=True)
    if not (queries := getattr(text, "num_attention_heads", None)):
        return MemoryEstimate(weights, 0)  # a state that does not grow with the tokens
    heads = getattr(text, "num_key_value_heads", None) or queries
    width = getattr(text, "head_dim", None) or text.hidden_size // queries
    return MemoryEstimate(weights, 2 * text.num_hidden_layers * heads * width * size * tokens)


def _count_parameters(config: PretrainedConfig) -> tuple[int, int]:
    """Return the parameters of a model, and those of its embedding. A large T5 takes a quarter of a second, once."""
    key = config.to_json_string(use_diff=False)
    if key not in _counted:
        model = model_on_meta(config)
        embedding = model.get_input_embeddings().weight
        _counted[key] = sum(p.numel() for p in model.parameters()), embedding.numel()
    return _counted[key]


def rows_that_fit(row: MemoryEstimate, config: PretrainedConfig, device: Device, workers: int) -> int | None:
    """Return how many rows fit beside the weights, with so many workers on the device. `row` estimates one of them.

    It is None where nobody knows how much memory the device has.
    """
    if (available := _available(device)) is None:
        return None
    logits = config.get_text_config(decoder=True).vocab_size * _LOGIT_BYTES
    room = available * _PLANNED / workers - row.weights - OVERHEAD
    return max(0, int(room / (row.kv_cache + logits)))


def check_memory(estimate: MemoryEstimate, device: Device, workers: int) -> None:
    """Raise UnsupportedError if a device has less memory than so many workers estimate."""
    available = _available(device)
    if available is not None and workers * estimate.total > available:
        fits = available // estimate.total
        raise UnsupportedError(
            f"workers_per_device {workers}: {_gib(estimate.weights)} of weights, {_gib(estimate.kv_cache)} of KV "
            f"cache and {_gib(OVERHEAD)} of libraries for each make {_gib(workers * estimate.total)}, and "
            f"{device.name} has {_gib(available)}. Set workers_per_device: {max(fits, 1)}, or a smaller batch_size."
        )


def _available(device: Device) -> int | None:
    if device.kind == "cpu":
        return int(psutil.virtual_memory().available)
    return device.memory_bytes


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
