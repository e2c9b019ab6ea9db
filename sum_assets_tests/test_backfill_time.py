"""What a backfill takes beside its abstracts, and how the report of a range says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sum_assets.backfill_time import RUN_SECONDS, Backfill, ranges_as_large, ranges_in_run
from sum_assets.id_range import IdRange
from sum_assets.range_report import Outlook, RangeResult, render_range_report
from sum_assets.summarizer.roofline import Lengths


@given(st.floats(0, 1e6), st.integers(1, 100_000), st.integers(1, 64))
def test_a_run_lasts_minutes_and_all_devices_have_work(seconds: float, ranges: int, at_once: int) -> None:
    number = ranges_in_run(seconds, ranges, at_once)
    assert 1 <= number <= ranges
    assert number == 1 or number * seconds <= RUN_SECONDS + seconds / 2
    backfill = Backfill(seconds * ranges, ranges, load_seconds=7, start_seconds=3)
    assert backfill.runs * backfill.ranges_per_run >= ranges > (backfill.runs - 1) * backfill.ranges_per_run
    assert backfill.seconds == pytest.approx(seconds * ranges + backfill.runs * (3 + 7 + 8) + 0.25 * ranges)


def test_ranges_of_another_corpus_are_as_large() -> None:
    assert ranges_as_large(3_680_000, 18_440, 577) == 368, "of 10,000 at least"
    assert ranges_as_large(3_680_000, 40_000, 2) == 184
    assert ranges_as_large(1, 0, 1) == 1


def result(summarized: int, load: float) -> RangeResult:
    """Return what a run did that took 0.1 s for each abstract."""
    phases = dict.fromkeys(("tokenize", "detokenize", "write", "read", "other"), 0.0)
    generate = summarized / 10
    return RangeResult(
        id_range=IdRange(1, 100), fingerprint="f", settings={}, summarized=summarized, rejected={}, truncated=0,
        capped=0, lengths=Lengths(), seconds=load + generate,
        phases=phases | {"load_model": load, "generate": generate}, beside={}, latencies=[], engine=None,
        peak_process_bytes=0, examples=[],
    )  # fmt: skip


def test_a_later_range_of_a_run_says_what_the_run_took_too() -> None:
    outlook = Outlook(rows=18_440, ranges=200, load_seconds=20.0, start_seconds=12.0)
    for load in (20.0, 0.0):  # only the first range of a run loads the model
        lines = render_range_report(result(92, load), outlook).splitlines()
        # 1,844 s for the abstracts, 7 runs of 40 s, and 50 s for the ranges.
        assert lines[-4:] == [
            "at this rate, with 33 ranges in a run:",
            "this corpus     18,440   36.2 minutes",
            "the lab's    3,680,000       4.4 days",
            "a run takes 40 s more, a range 0.25 s",
        ]
        assert max(map(len, lines[-4:])) <= 45
    assert outlook.backfill(result(0, 20.0)) is None
    assert "a run takes" not in render_range_report(result(0, 20.0), outlook)
