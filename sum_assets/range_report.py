"""What one run did for one range: its counts and times, and their report as text."""

import statistics
import textwrap
from dataclasses import dataclass
from typing import Any

from sum_assets.backfill_time import RANGE_SECONDS, Backfill, ranges_as_large
from sum_assets.id_range import IdRange
from sum_assets.summarizer import EngineState
from sum_assets.summarizer.roofline import Lengths, Share, share_of_limit
from sum_assets.units import LAB_CORPUS, counted, duration

#: What the page of a partition shows at 1280 pixels, in characters.
_WIDTH = 45


@dataclass(frozen=True, slots=True)
class RangeResult:
    """What one run did for one range. Counts are of abstracts, times in seconds, sizes in bytes.

    `phases` is what the main thread did or waited for. `beside` is what other threads were busy with meanwhile.
    """

    id_range: IdRange
    fingerprint: str
    settings: dict[str, Any]
    summarized: int
    rejected: dict[str, int]
    truncated: int
    capped: int
    seconds: float
    phases: dict[str, float]
    beside: dict[str, float]
    latencies: list[float]
    engine: EngineState | None
    peak_process_bytes: int
    examples: list[tuple[int, str, str]]
    lengths: Lengths

    @property
    def per_second(self) -> float | None:
        """Abstracts per second with the model loaded; None where this run generated nothing."""
        working = self.seconds - self.phases["load_model"]
        return self.summarized / working if self.summarized and working > 0 else None

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens per second of the generate phase; None where nothing was generated."""
        spent = self.phases["generate"]
        return self.lengths.outputs / spent if self.lengths.outputs and spent > 0 else None

    @property
    def share(self) -> Share | None:
        """The share of the device's limit, with the model loaded; None where this run generated nothing."""
        if self.engine is None or not self.summarized:
            return None
        return share_of_limit(self.engine.roofline, self.lengths, self.seconds - self.phases["load_model"])

    def latency(self, percent: int) -> float | None:
        """Return a percentile of seconds per abstract, each with its share of its batch's time."""
        if not self.latencies:
            return None
        if len(self.latencies) == 1:
            return self.latencies[0]
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a range's rate is projected with: the corpus, `rows` in `ranges`, and what its run took before it.

    `start_seconds` are those from the launch of the run to its first range.
    """

    rows: int
    ranges: int
    load_seconds: float
    start_seconds: float

    def backfill(self, result: RangeResult, rows: int | None = None) -> Backfill | None:
        """Return the backfill of the corpus at the rate of a range, or that of another corpus in ranges as large.

        None where the range has no rate.
        """
        if result.per_second is None:
            return None
        ranges = self.ranges if rows is None else ranges_as_large(rows, self.rows, self.ranges)
        seconds = (rows or self.rows) / result.per_second
        return Backfill(seconds, ranges, self.load_seconds, self.start_seconds)


def render_range_report(result: RangeResult, outlook: Outlook) -> str:
    """Return total, summarization, insert and loading time, their means per abstract, and days.

    Where the run generated nothing, the report says so and gives no rates. No line is longer than what the page of
    a partition shows (about 45 characters at 1280 pixels).
    """
    rejected = f"{sum(result.rejected.values())} abstracts rejected" if result.rejected else ""
    if not result.summarized:
        return rejected or "Nothing to do: every abstract had its result."
    phases = result.phases
    summarization = phases["tokenize"] + phases["generate"] + phases["detokenize"]
    lines = [f"{result.summarized} abstracts summarized in {result.seconds:.1f} s", *filter(None, [rejected]), ""]
    for name, seconds in (
        ("total", result.seconds),
        ("summarization", summarization),
        ("insert", phases["write"]),
        ("read", phases["read"]),
        ("model loading", phases["load_model"]),
        ("other", phases["other"]),
    ):
        mean, share = seconds / result.summarized, seconds / result.seconds
        lines.append(f"{name:<14}{seconds:>9.2f} s{mean:>9.4f} s each{share:>5.0%}")
    if result.share:
        lines += textwrap.wrap(f"share of the limit: {result.share}", _WIDTH)
    for worker in result.engine.workers if result.engine else ():
        lines.append(f"{worker.name:<18}{worker.rows:>7} rows, {worker.busy:.0%} busy")
        if worker.restarts:
            lines.append(f"  started {worker.restarts + 1} times")
        if worker.quarantined:
            lines.append(f"  quarantined: {worker.quarantined}")
    own, lab = outlook.backfill(result), outlook.backfill(result, LAB_CORPUS)
    if own and lab:
        lines += ["", f"at this rate, with {counted(own.ranges_per_run, 'range')} in a run:"]
        for label, rows, backfill in (("this corpus", outlook.rows, own), ("the lab's", LAB_CORPUS, lab)):
            lines.append(f"{label:<12}{rows:>10,} {duration(backfill.seconds / 86400):>14}")
        lines.append(f"a run takes {own.run_seconds:.0f} s more, a range {RANGE_SECONDS} s")
    return "\n".join(lines)
