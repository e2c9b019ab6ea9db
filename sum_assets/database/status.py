"""Reports the state of each range and its holder, from the tables alone."""

import time
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from psycopg import Connection

from sum_assets.database.coverage import SOURCE, rows_in
from sum_assets.database.range_count import begun_of, recorded_counts
from sum_assets.database.range_lease import Holder, holders
from sum_assets.database.verify import RangeState, verify_range, without_results
from sum_assets.id_range import IdRange

State = Literal[
    "done", "running", "queued", "failed", "stale", "unpublished", "partial", "empty", "not begun", "uncounted"
]
#: For how long `range_status` counts.
COUNT_SECONDS = 0.5
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RangeStatus:
    """A range compared with its published fingerprint, else its newest; `holder` is its run, or its failed one.

    `counts` is None where they are not known, since the range changed and was not counted again. `recorded_at` is
    when they were counted, None for now. `in_run` says that a run which waits or works has it before it.
    """

    id_range: IdRange
    counts: RangeState | None
    recorded_at: datetime | None
    holder: Holder | None
    in_run: bool = False

    @property
    def state(self) -> State:
        """The state that `sum-assets status` shows."""
        if self.holder and self.holder.alive:
            return "running"
        state = "failed" if self.holder else self._counted
        return "queued" if self.in_run and state not in ("done", "empty") else state

    @property
    def _counted(self) -> State:
        counts = self.counts
        if counts is None:
            return "uncounted"
        if counts.source and counts.complete and counts.sound and counts.published + counts.rejected == counts.source:
            return "done"
        if not (counts.source or counts.published):
            return "empty"
        if not (counts.summarized or counts.rejected or counts.published):
            return "not begun"
        if counts.stale or counts.orphans:
            return "stale"
        return "unpublished" if counts.complete else "partial"

    @property
    def detail(self) -> str:
        """The run that works on it, or why the last one failed."""
        if self.holder is None:
            return ""
        if self.holder.alive:
            return str(self.holder)
        return self.holder.failure or f"{self.holder} was killed"


def range_status(
    connection: Connection,
    ranges: Sequence[IdRange],
    seconds: float = COUNT_SECONDS,
    in_runs: Collection[IdRange] = frozenset(),
) -> list[RangeStatus]:
    """Return the status of each range: counted now as far as the seconds go, and as recorded for the rest.

    Those of which nothing is recorded are counted first, then those that were counted longest ago. `in_runs` are
    those that runs which wait or work have before them.
    """
    deadline = time.monotonic() + seconds
    leases = sorted(holders(connection), key=lambda h: h.lo)
    recorded = recorded_counts(connection)
    begun = begun_of(connection, ranges)
    counted: dict[IdRange, RangeState] = {}
    for r in sorted(ranges, key=lambda r: recorded[r].counted_at if r in recorded else _LONG_AGO):
        if time.monotonic() > deadline:
            break
        counted[r] = verify_range(connection, r) if r in begun else _not_begun(connection, r)
    statuses = []
    for r in ranges:
        before = None if r in counted else recorded.get(r)
        counts = before.state if before else counted.get(r)
        recorded_at = before.counted_at if before else None
        statuses.append(RangeStatus(r, counts, recorded_at, _holder(r, leases), r in in_runs))
    return statuses


def _not_begun(connection: Connection, id_range: IdRange) -> RangeState:
    return without_results(sum(span.rows for span in rows_in(connection, SOURCE, [id_range])))


def _holder(r: IdRange, leases: Sequence[Holder]) -> Holder | None:
    """Return the lease of the run of a range. Leases are in order, and no two overlap."""
    touching = []
    at = bisect_right(leases, r.hi, key=lambda h: h.lo)
    while at and leases[at - 1].hi >= r.lo:
        at -= 1
        # One that is over and covered more was no run of this range: it withdrew or deleted results.
        if leases[at].alive or (r.lo <= leases[at].lo and leases[at].hi <= r.hi):
            touching.append(leases[at])
    return max(touching, key=lambda h: (h.alive, h.taken_at), default=None)
