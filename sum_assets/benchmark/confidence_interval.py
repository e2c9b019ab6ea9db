"""Confidence intervals over replicates: of a rate, and of a speed-up as the ratio of two rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads `stats` when it is used, which takes a second that most processes need not spend

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median with its 95 % interval, and the 5th and 95th percentile of the values."""

    median: float
    low: float
    high: float
    p5: float
    p95: float

    @property
    def undecided(self) -> bool:
        """For a ratio: whether the interval covers 1."""
        return self.low <= 1 <= self.high


def estimate(values: Sequence[float]) -> Estimate:
    """Return the median of positive values, with a bootstrap interval of their geometric mean.

    Rates and ratios err by factors, so their logarithms are resampled. The percentile interval of few values
    is too narrow. It is expanded as in Hesterberg, What Teachers Should Know About the Bootstrap (2015),
    section 4. A single value has no interval: 0 to infinity.
    """
    logs = np.log(np.asarray(values, dtype=float))
    median, count = float(np.median(values)), len(logs)
    p5, p95 = (float(p) for p in np.percentile(values, [5, 95]))
    if count < 2:
        return Estimate(median, 0.0, math.inf, p5, p95)
    means = np.random.default_rng(0).choice(logs, (RESAMPLES, count)).mean(axis=1)
    center = logs.mean()
    expand = scipy.stats.t.ppf(0.975, count - 1) / scipy.stats.norm.ppf(0.975) * math.sqrt(count / (count - 1))
    low, high = np.exp(center + (np.percentile(means, [2.5, 97.5]) - center) * expand)
    return Estimate(median, float(low), float(high), p5, p95)


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Return the ratio of two rates, such as a speed-up, with its interval. Both are of the same replicates."""
    return estimate([a / b for a, b in zip(numerators, denominators, strict=True)])


@dataclass(frozen=True, slots=True)
class Noise:
    """How much rates vary from run to run: the standard deviation of their logarithm, and its degrees of freedom."""

    deviation: float
    freedom: int


def pooled_noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """Return the run-to-run noise of rates; None where no preset was measured twice.

    Each group has the replicates of one preset. Few replicates of one preset say little about their spread. Those
    of all presets, on one machine in one sweep, say more.
    """
    logs = [np.log(np.asarray(group, dtype=float)) for group in groups]
    freedom = sum(len(group) - 1 for group in logs if len(group))
    if freedom < 1:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in logs if len(group))
    return Noise(math.sqrt(squares / freedom), freedom)
