"""Finds the largest batch that fits in memory: predicted by a line through measured peaks, confirmed by bisection."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from psycopg import Connection

from sum_assets.benchmark.cell import Task
from sum_assets.benchmark.run_sweep import run_cell
from sum_assets.benchmark.sweep import Preset
from sum_assets.database.benchmark_results import draw_sample, forget_summaries
from sum_assets.errors import UserError
from sum_assets.summarizer import SummarizerSettings, resolve_settings
from sum_assets.summarizer.device_lease import device_lease

_CELL = "largest-batch"
_SMALL = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Probe:
    """One batch size that was tried, every input at the input limit. `peak_bytes` is None if it does not fit."""

    batch_size: int
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class LargestBatch:
    """The largest batch that fits, and the one that a line through the smallest ones predicted.

    `complete` is false if the corpus has too few abstracts to fill a larger batch.
    """

    batch_size: int
    predicted: int
    limit_bytes: int
    complete: bool


def largest_batch(
    connection: Connection,
    preset: Preset,
    summarizer: SummarizerSettings,
    time_limit: float,
    on_probe: Callable[[Probe], None] = lambda _: None,
    log: Callable[[str], object] = lambda _: None,
) -> LargestBatch:
    """Try batches up to the preset's memory limit or the device's memory, each in its own process.

    Every input is padded to the input limit. Raises UserError where no limit is known or a single abstract does not
    fit, and UnsupportedError where the preset cannot run here.
    """
    with device_lease(preset, log) as leased:
        return _largest_batch(connection, leased, summarizer, time_limit, on_probe, log)


def _largest_batch(
    connection: Connection,
    preset: Preset,
    summarizer: SummarizerSettings,
    time_limit: float,
    on_probe: Callable[[Probe], None],
    log: Callable[[str], object],
) -> LargestBatch:
    limit = _limit_bytes(preset, summarizer)
    ids = draw_sample(connection, 4096)

    def probe(batch_size: int) -> int | None:
        log(f"batch {batch_size}: tried in a process of its own, which loads the model")
        changed = preset.model_copy(update={"batch_size": batch_size})
        task = Task(_CELL, changed.model_dump(), summarizer.model_dump(), ids[:batch_size], [], to_limit=True)
        try:
            result = run_cell(task, time_limit)
        finally:
            forget_summaries(connection, _CELL)
        if result.outcome not in ("ok", "out_of_memory", "killed"):
            raise UserError(
                f"A batch of {batch_size} could not be tried: {result.outcome}: {result.detail} Choose another "
                "preset, or correct this one."
            )
        peak = result.peak_address_bytes if preset.memory_limit_mib else result.peak_device_bytes
        on_probe(Probe(batch_size, peak if result.outcome == "ok" else None))
        return peak if result.outcome == "ok" else None

    return search(probe, limit, len(ids))


def search(probe: Callable[[int], int | None], limit: int, most: int) -> LargestBatch:
    """Return the largest batch up to `most` for which `probe` returns peak bytes, not None.

    Raises UserError where not even one fits.
    """
    small: dict[int, int] = {}
    for size in (s for s in _SMALL if s <= most):
        if (peak := probe(size)) is None:
            break
        small[size] = peak
    if not small:
        raise UserError(f"Not even a batch of one fits in {limit / 2**20:,.0f} MiB.")
    fits, fails = max(small), most + 1
    if len(small) < len(_SMALL):
        fails = min(fails, next(s for s in _SMALL if s > fits))
    slope, base = np.polyfit(list(small), list(small.values()), 1) if len(small) > 1 else (limit, 0)
    predicted = int(np.clip((limit - base) / slope, 1, most)) if slope > 0 else most
    step = max(predicted // 8, 1)
    candidate = predicted
    while fails - fits > 1:
        # From the prediction outwards by doubling steps, until a size that fits and one that fails enclose the answer.
        candidate = candidate if fits < candidate < fails else (fits + fails) // 2
        if probe(candidate) is None:
            fails, candidate = candidate, candidate - step
        else:
            fits, candidate = candidate, candidate + step
        step *= 2
    return LargestBatch(fits, predicted, limit, fits < most)


def _limit_bytes(preset: Preset, summarizer: SummarizerSettings) -> int:
    if preset.memory_limit_mib:
        return preset.memory_limit_mib * 2**20
    device = resolve_settings(preset, summarizer).device
    if device.memory_bytes is None:
        raise UserError(
            f"{device.name} does not report how much memory a run may take, and a batch that takes too much would harm "
            "everything else on the machine. Set it: --memory-limit-mib."
        )
    return device.memory_bytes
