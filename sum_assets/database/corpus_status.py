"""The state of the whole corpus: what is done, how fast the runs are, and when they will be through."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from psycopg import Connection

from sum_assets.database.range_registry import ranges_in_runs
from sum_assets.database.run_rate import RunRate, recent_rate
from sum_assets.database.statements import statement
from sum_assets.database.status import RangeStatus, State, range_status
from sum_assets.id_range import IdRange
from sum_assets.paths import dagster_is_here
from sum_assets.units import counted, duration


@dataclass(frozen=True, slots=True)
class Made:
    """What runs have made under one fingerprint: `ranges` are those that they finished."""

    fingerprint: str
    model: str
    engine: str
    precision: str
    ranges: frozenset[IdRange]


@dataclass(frozen=True, slots=True)
class CorpusStatus:
    """All ID ranges as they were found; `rate` is None where nothing ran yet."""

    statuses: list[RangeStatus]
    rate: RunRate | None
    made: list[Made]

    @property
    def ranges(self) -> Counter[State]:
        """The number of ranges in each state."""
        return Counter(one.state for one in self.statuses)

    @property
    def abstracts(self) -> Counter[State]:
        """The number of abstracts of the ranges in each state, as far as they are counted."""
        return sum((Counter({one.state: one.counts.source}) for one in self.statuses if one.counts), Counter())

    @property
    def published(self) -> Counter[str]:
        """The number of ranges that are published under each fingerprint, as far as they are counted."""
        counts = [one.counts for one in self.statuses if one.counts]
        return Counter(c.fingerprint for c in counts if c.published and c.fingerprint)

    @property
    def left(self) -> int:
        """How many abstracts have no current result, as far as they are counted.

        Of a range that a run has before it, they are those without one under the fingerprint of the latest runs.
        """
        newest = self.rate.fingerprint if self.rate else None
        made = {id_range for one in self.made if one.fingerprint == newest for id_range in one.ranges}
        left = 0
        for one in self.statuses:
            if one.counts and newest and _in_run(one) and one.counts.fingerprint not in (None, newest):
                left += 0 if one.id_range in made else one.counts.source
            elif one.counts:
                left += one.counts.pending
        return left

    @property
    def goes_on(self) -> bool:
        """Whether a run works on a range, or has one before it."""
        return any(map(_in_run, self.statuses))

    @property
    def seconds_left(self) -> tuple[float, float, float] | None:
        """The seconds that the rest takes, and the ends of their 95 % interval; None without a rate."""
        return self.rate.seconds_for(self.left) if self.rate else None

    @property
    def forecast(self) -> str:
        """How fast the runs were, and when they will be through, or how long that would take; empty without a rate."""
        if not (self.rate and self.seconds_left):
            return ""
        pace = f"{self.rate.per_second:,.4g} abstracts/s, measured on {counted(self.rate.ranges, 'range')}"
        if not self.left:
            return f"{pace}. None is left."
        seconds, low, high = self.seconds_left
        left = counted(self.left, "abstract is", "abstracts are")
        if not self.goes_on:
            between = "" if low == high else f", {duration(low / 86400)} to {duration(high / 86400)}"
            return f"{pace}. Nothing runs. {left} left: {duration(seconds / 86400)}{between}."
        now = datetime.now().astimezone()
        ends = [f"{now + timedelta(seconds=s):%Y-%m-%d %H:%M}" for s in (seconds, low, high)]
        between = "" if low == high else f", between {ends[1]} and {ends[2]} (95 % interval)"
        return f"{pace}. {left} left: until about {ends[0]} {now:%Z}{between}."


def corpus_status(connection: Connection, ranges: Sequence[IdRange]) -> CorpusStatus:
    """Return the status of these ranges, counted for half a second, and the rate of the latest runs."""
    in_runs = ranges_in_runs(connection, ranges) if dagster_is_here() else set()
    statuses = range_status(connection, ranges, in_runs=in_runs)
    return CorpusStatus(statuses, recent_rate(connection), _made(connection, set(ranges)))


def _made(connection: Connection, ranges: set[IdRange]) -> list[Made]:
    """Return what runs have made of these ranges, by fingerprint."""
    rows = connection.execute(statement("range_run_made")).fetchall()
    made = []
    for (fingerprint, model, engine, precision), finished in groupby(rows, key=lambda row: row[:4]):
        found = frozenset(IdRange(lo, hi) for *_, lo, hi in finished) & ranges
        if found:
            made.append(Made(fingerprint, model or "", engine or "", precision or "", found))
    return made


def _in_run(one: RangeStatus) -> bool:
    return one.in_run or one.state == "running"
