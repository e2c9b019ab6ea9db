"""Reports the state of each range and its holder, from the tables alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import Connection

from sum_assets.database.coverage import SOURCE, rows_in
from sum_assets.database.range_lease import Holder, holders
from sum_assets.database.statements import statement
from sum_assets.database.verify import RangeState, verify_range, without_results
from sum_assets.id_range import IdRange

State = Literal["done", "running", "failed", "stale", "unpublished", "partial", "empty", "not begun"]


@dataclass(frozen=True, slots=True)
class RangeStatus:
    """A range compared with its published fingerprint, else its newest; `holder` is its run, or its failed one."""

    id_range: IdRange
    counts: RangeState
    holder: Holder | None

    @property
    def state(self) -> State:
        """The state that `sum-assets status` shows."""
        counts = self.counts
        if self.holder and self.holder.alive:
            return "running"
        if self.holder:
            return "failed"
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


def range_status(connection: Connection, ranges: Sequence[IdRange]) -> list[RangeStatus]:
    """Return the status of each range. The texts of a range are read only where there is a result to compare."""
    leases = holders(connection)
    ends = {"los": [r.lo for r in ranges], "his": [r.hi for r in ranges]}
    begun = {IdRange(lo, hi) for lo, hi in connection.execute(statement("status_begun"), ends)}
    counts = {span.ids: span.rows for span in rows_in(connection, SOURCE, [r for r in ranges if r not in begun])}

    def holder(r: IdRange) -> Holder | None:
        # One that is over and covered more was no run of this range: it withdrew or deleted results.
        touching = [h for h in leases if h.lo <= r.hi and h.hi >= r.lo and (h.alive or (r.lo <= h.lo and h.hi <= r.hi))]
        return max(touching, key=lambda h: (h.alive, h.taken_at), default=None)

    return [
        RangeStatus(r, verify_range(connection, r) if r in begun else without_results(counts.get(r, 0)), holder(r))
        for r in ranges
    ]
