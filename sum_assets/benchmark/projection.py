"""Projects a corpus from a sample: seconds by phase, days with their 95 % interval, bytes on the disk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from sum_assets.backfill_time import RANGE_SECONDS, Backfill
from sum_assets.benchmark.cell import CellResult
from sum_assets.benchmark.confidence_interval import Noise
from sum_assets.benchmark.corpus_lengths import Corpus
from sum_assets.progress import LOG_EVERY
from sum_assets.summarizer.engine_registry import ENGINES

#: Bytes that an abstract takes in `generated_summary` and `abstract_summary` beside its text, indexes included.
#: By pg_total_relation_size of 20,000 rows: 393. A range takes 56 kB of `event_logs` (the demo, five runs of one), a
#: log line 1 kB.
ROW_BYTES = 400
RANGE_BYTES = 60_000
LOG_LINE_BYTES = 1_000
#: Run-to-run noise of shared machines. Sweeps on one such day showed 1, 9 and 11 %: 8 % as root mean square.
USUAL_NOISE = Noise(0.08, 4)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of an input by the characters of its abstract: a line fitted on the sample, cut at the limit."""

    base: float
    per_character: float
    limit: int

    @classmethod
    def fit(cls, characters: Sequence[int], tokens: Sequence[int], limit: int) -> "Tokens":
        """Fit by least squares on the inputs that were not cut."""
        x, y = np.array(characters, dtype=float), np.array(tokens, dtype=float)
        whole = y < limit
        if len(np.unique(x[whole])) < 2:
            return cls(float(y.mean()), 0.0, limit)
        slope, base = np.polyfit(x[whole], y[whole], 1)
        return cls(float(base), float(slope), limit)

    def __call__(self, characters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return tokens for characters."""
        return np.clip(self.base + self.per_character * characters, 1, self.limit).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Projection:
    """Seconds that a corpus takes by `backfill`, by phase and in all, and bytes that it leaves on the disk.

    The phase `runs` is the start and the end of all runs, `ranges` what ID ranges take beside their abstracts.
    `low` and `high` are the ends of the 95 % prediction interval of the total, in seconds. They are None where
    nothing was measured twice.
    """

    rows: int
    backfill: Backfill
    phases: dict[str, float]
    seconds: float
    low: float | None
    high: float | None
    summary_bytes: int
    event_log_bytes: int

    @property
    def days(self) -> float:
        """The total in days."""
        return self.seconds / 86400

    @property
    def per_second(self) -> float:
        """Abstracts per second, within a range."""
        return self.rows / max(self.backfill.working, 1e-3)

    @property
    def half_width(self) -> float | None:
        """Half the interval, as a share of its middle."""
        return None if self.low is None or self.high is None else (self.high - self.low) / (self.high + self.low)


def project(
    replicates: Sequence[CellResult],
    corpus: Corpus,
    tokens: Tokens,
    *,
    padded_to: int | None,
    noise: Noise | None,
    summary_bytes: float,
) -> Projection:
    """Project one preset's replicates, all `ok`, to a corpus.

    The time of a batch is a sum over its rows, their tokens and, for attention, the tokens squared. The sample gives
    the seconds of each. All other phases are proportional to the rows, loading to the runs of a backfill, each of
    which takes several ranges. `padded_to` is the length of every input where all are padded.

    The interval is that of a t distribution with the degrees of freedom of the noise. Its variance has three parts:
    the noise of the mean over the replicates, the noise of the new run, and how batches differ beside their length.
    A run as long as k cells averages over k spells of the machine, but over no more spells than there are replicates.
    A few replicates in a quiet quarter of an hour say too little of the next one. So what they show is pooled with
    what is usual (`USUAL_NOISE`).
    """
    parts, misfit, batches = _fit_batches(replicates, padded_to)
    lengths = np.full(len(corpus.characters), padded_to) if padded_to else tokens(corpus.characters)
    per_row = float(_cost(np.ones(len(lengths)), lengths, lengths**2).mean(axis=0) @ parts)
    generate = per_row * corpus.rows
    measured = sum(r.abstracts for r in replicates)
    phases = {"generate": generate}
    for phase in ("read", "tokenize", "detokenize", "write", "other"):
        phases[phase] = sum(r.phases[phase] for r in replicates) / measured * corpus.rows
    load = float(np.median([r.phases["load_model"] for r in replicates]))
    backfill = Backfill(sum(phases.values()), corpus.ranges, load)
    phases = {"load_model": load * backfill.runs, **phases}
    phases["runs"] = (backfill.run_seconds - load) * backfill.runs
    phases["ranges"] = RANGE_SECONDS * corpus.ranges
    seconds = backfill.seconds
    low = high = None
    if noise:
        freedom = noise.freedom + USUAL_NOISE.freedom
        usual = (noise.freedom * noise.deviation**2 + USUAL_NOISE.freedom * USUAL_NOISE.deviation**2) / freedom
        cell = float(np.mean([r.seconds for r in replicates if r.seconds]))
        averaged = np.clip(cell / seconds, 1 / len(replicates), 1)
        variance = usual * (averaged + 1 / len(replicates))
        variance += misfit**2 / batches * (1 + replicates[0].abstracts / corpus.rows)
        spread = math.exp(float(scipy.stats.t.ppf(0.975, freedom)) * math.sqrt(variance))
        low, high = seconds / spread, seconds * spread
    return Projection(
        rows=corpus.rows,
        backfill=backfill,
        phases=phases,
        seconds=seconds,
        low=low,
        high=high,
        summary_bytes=round(corpus.rows * (2 * summary_bytes + ROW_BYTES)),
        event_log_bytes=round(corpus.ranges * RANGE_BYTES + seconds / LOG_EVERY * LOG_LINE_BYTES),
    )


def _cost(rows: NDArray[np.float64], tokens: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the terms of a batch's time, (batches, 3): rows, their tokens and, for attention, the tokens squared."""
    return np.stack([rows, tokens, squares], axis=1)


def _fit_batches(replicates: Sequence[CellResult], padded_to: int | None) -> tuple[NDArray[np.float64], float, int]:
    """Return the seconds of each term of a batch's cost, none negative, the misfit of a batch, and the batches.

    The misfit is the relative standard deviation of a batch, averaged over the replicates, from the fit. It is what
    the content of the batch causes, not the noise.

    With continuous batching or several workers, batches overlap: their times say when they finished, not how long
    they took. Such a replicate counts as one batch. A single batch has nothing to be compared with, so its time is
    taken to be proportional to the tokens, read and written.
    """
    costs, seconds = [], []
    for replicate in replicates:
        recorded = np.array(replicate.batches, dtype=float)
        if _overlapping(replicate.resolved):
            recorded = recorded.sum(axis=0, keepdims=True)
        rows, tokens, squares, spent = recorded.T
        costs.append(_cost(rows, rows * padded_to, rows * padded_to**2) if padded_to else _cost(rows, tokens, squares))
        seconds.append(spent)
    every = np.concatenate(costs)
    if len(every) == len(replicates):
        all_rows, all_tokens, _ = every.sum(axis=0)
        written = sum(r.output_tokens for r in replicates)
        each = float(np.concatenate(seconds).sum()) / (all_tokens + written)
        return np.array([written / all_rows * each, each, 0.0]), 0.0, 1
    scale = np.maximum(every.max(axis=0), 1)
    fitted, _ = scipy.optimize.nnls(every / scale, np.concatenate(seconds))
    parts = fitted / scale
    batches = len(costs[0])
    if len({len(cost) for cost in costs}) > 1 or batches < 3:
        return parts, 0.0, batches
    ratios = np.mean(seconds, axis=0) / (costs[0] @ parts)
    freedom = max(batches - np.count_nonzero(parts), 1)
    return parts, float(np.sqrt(((ratios - 1) ** 2).sum() / freedom)), batches


def _overlapping(settings: Mapping[str, Any]) -> bool:
    """Return whether several batches are processed at once."""
    spec = ENGINES.get(settings.get("engine", ""))
    return (
        (spec is not None and spec.continuous)
        or settings.get("workers_per_device", 1) > 1
        or len(settings.get("devices", [])) > 1
    )
