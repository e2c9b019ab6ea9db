"""Chooses how much goes into a batch, where the settings leave it open."""

from transformers import PretrainedConfig

from sum_assets.summarizer.engine_registry import EngineSpec
from sum_assets.summarizer.memory import predict, rows_that_fit
from sum_assets.summarizer.types import Device, Precision
from sum_assets.summarizer.user_settings import GpuSettings, SummarizerSettings

#: Inputs of a batch at most, batch after batch and in continuous batching. More gain little, and are lost together in a
#: kill. On an H100 the limit of T5-large is 466 abstracts/s with 64 and 554 with 256 (docs/explanation/roofline.md).
#: CPUs did not tell 16 from 64 (docs/evidence/benchmark.md, docs/evidence/engines.md).
_MOST = {"cpu": (16, 64), "cuda": (256, 512), "mps": (16, 16)}
#: Where nobody knows how much memory there is.
_CAUTIOUS = 16


def choose_batch(
    gpu: GpuSettings,
    settings: SummarizerSettings,
    spec: EngineSpec,
    config: PretrainedConfig,
    precision: Precision,
    devices: tuple[Device, ...],
) -> tuple[int, int | None]:
    """Return how many inputs a batch has at most, and how many tokens, where they are limited too.

    The tokens are those of the longest input and of the output limit, for each row.
    """
    if gpu.batch_size is not None:
        return gpu.batch_size, gpu.batch_tokens
    if gpu.batch_tokens is not None:
        return max(1, gpu.batch_tokens // settings.max_output_tokens), gpu.batch_tokens
    most = min(_MOST[device.kind][spec.continuous] for device in devices)
    if spec.queues_on(devices[0]):
        return most, None
    tokens = settings.max_input_tokens + settings.max_output_tokens
    row = predict(config, precision, gpu.quantization, tokens)
    fits = [rows_that_fit(row, config, device, gpu.workers_per_device) for device in devices]
    rows = min(_CAUTIOUS if each is None else max(1, each) for each in fits)
    if "batch_tokens" in spec.settable and rows < most and None not in fits:
        return most, rows * tokens
    return min(most, rows), None
