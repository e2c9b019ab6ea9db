"""Intervals hold what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sum_assets.benchmark.confidence_interval import estimate, paired_ratio


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_interval_holds_the_truth_about_as_often_as_it_says(replicates: int) -> None:
    generator = np.random.default_rng(1)
    tries = [estimate(list(2.0 * np.exp(generator.normal(0, 0.15, replicates)))) for _ in range(300)]
    assert sum(e.low <= 2.0 <= e.high for e in tries) / 300 > 0.9


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=6), st.floats(0.1, 10))
def test_estimates_scale_with_their_values(values: list[float], factor: float) -> None:
    one, scaled = estimate(values), estimate([v * factor for v in values])
    assert one.low <= math.exp(np.log(values).mean()) * 1.0001
    assert one.high >= math.exp(np.log(values).mean()) * 0.9999
    assert [scaled.low, scaled.median, scaled.high] == pytest.approx(
        [one.low * factor, one.median * factor, one.high * factor], rel=1e-6
    )


def test_a_pair_shares_its_slow_minute() -> None:
    ratio = paired_ratio([8.0, 4.0, 8.1], [1.0, 0.5, 1.0])
    assert ratio.median == pytest.approx(8.0)
    assert not ratio.undecided
    assert paired_ratio([1.0, 1.2, 0.9], [1.0, 1.0, 1.0]).undecided
    assert estimate([3.0]).undecided
