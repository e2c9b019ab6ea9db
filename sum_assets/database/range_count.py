"""Counts ID ranges, and keeps the counts for as long as they hold, so that `status` need not count all anew.

Whoever takes a lease or loads abstracts drops, in the same transaction, what was counted of these IDs: it holds no
longer, also where the process ends before it counts again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.types.json import Jsonb

from sum_assets.database.connection import transaction
from sum_assets.database.coverage import SOURCE, rows_in
from sum_assets.database.source import count_source
from sum_assets.database.statements import statement
from sum_assets.database.verify import RangeState, verify_range, without_results
from sum_assets.id_range import IdRange

_ADD = "INSERT INTO sum_assets.range_count (lo, hi) VALUES (%(lo)s, %(hi)s) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class Recount:
    """A range counted now, and what was recorded of it before, if that was still to hold."""

    state: RangeState
    recorded: RangeState | None

    @property
    def wrong_before(self) -> bool:
        """Whether results were changed past `sum_assets`: the same abstracts had other counts."""
        before = self.recorded
        return before is not None and before.content_hash == self.state.content_hash and before != self.state


@dataclass(frozen=True, slots=True)
class RecordedCount:
    """What was counted of a range, and when."""

    state: RangeState
    counted_at: datetime


def may_record(connection: Connection) -> bool:
    """Return whether this role may record counts here: a reader may not, and nobody on a standby."""
    row = connection.execute(
        "SELECT has_table_privilege('sum_assets.range_count', 'INSERT, UPDATE') "
        "AND current_setting('transaction_read_only') = 'off'"
    ).fetchone()
    return bool(row and row[0])


def begin_count(connection: Connection, id_range: IdRange) -> int:
    """Return how often the range has changed, to be given to `record_count`."""
    ends = {"lo": id_range.lo, "hi": id_range.hi, "token": ""}
    connection.execute(_ADD, ends)
    row = connection.execute(statement("range_count_begin"), ends).fetchone()
    return row[0] if row else -1


def record_count(connection: Connection, id_range: IdRange, state: RangeState, changes: int) -> bool:
    """Record a state, unless somebody has begun to change the range since `begin_count`. Return whether it was."""
    found = {"lo": id_range.lo, "hi": id_range.hi, "changes": changes, "state": Jsonb(asdict(state))}
    return connection.execute(statement("range_count_record"), found).rowcount == 1


def count_range(connection: Connection, id_range: IdRange, token: str = "", *, record: bool = True) -> Recount:
    """Compare a range with its published fingerprint, else its newest, and record the result.

    It is not recorded where somebody else works on the range, or began to meanwhile. `token` is that of a lease of the
    caller's. Reads only, without `record`.
    """
    ends = {"lo": id_range.lo, "hi": id_range.hi, "token": token}
    if record:
        connection.execute(_ADD, ends)
    before = connection.execute(statement("range_count_begin"), ends).fetchone()
    changes, alone, recorded = before or (-1, False, None)
    state = verify_range(connection, id_range)
    if record:
        unchanged = alone and record_count(connection, id_range, state, changes)
    else:
        unchanged = alone and connection.execute(statement("range_count_begin"), ends).fetchone() == before
    return Recount(state, RangeState(**recorded) if unchanged and recorded else None)


def count_after_run(connection: Connection, id_range: IdRange, fingerprint: str) -> RangeState:
    """Return the state of a range under the fingerprint of a run, and record what `status` compares it with."""
    state = count_range(connection, id_range).state
    return state if state.fingerprint == fingerprint else verify_range(connection, id_range, fingerprint)


def record_new(connection: Connection, ranges: Sequence[IdRange]) -> None:
    """Record the numbers of abstracts of new ranges, but of those that have results already."""
    with transaction(connection):
        # A load that ends meanwhile waits, and drops these counts.
        connection.execute("LOCK TABLE sum_assets.range_count IN ROW EXCLUSIVE MODE")
        begun = begun_of(connection, ranges)
        rows = {span.ids: span.rows for span in rows_in(connection, SOURCE, [r for r in ranges if r not in begun])}
        states = [Jsonb(asdict(without_results(n))) for n in rows.values()]
        ends = {"los": [r.lo for r in rows], "his": [r.hi for r in rows]}
        connection.execute(statement("range_count_add"), {**ends, "states": states})


def recorded_counts(connection: Connection) -> dict[IdRange, RecordedCount]:
    """Return what is recorded and still holds: not of ranges with tracked edits that nobody has taken yet."""
    rows = connection.execute(statement("range_count_recorded"))
    return {IdRange(lo, hi): RecordedCount(RangeState(**state), at) for lo, hi, state, at in rows}


def corpus_rows(connection: Connection, ranges: int) -> int:
    """Return about how many abstracts there are: by the last counts of so many ranges, else by counting them all."""
    row = connection.execute(
        "SELECT count(state), coalesce(sum((state ->> 'source')::bigint), 0)::bigint FROM sum_assets.range_count"
    ).fetchone()
    return int(row[1]) if row and row[0] >= ranges else count_source(connection)


def begun_of(connection: Connection, ranges: Sequence[IdRange]) -> set[IdRange]:
    """Return those of the ranges of which anything was generated, rejected or published."""
    ends = {"los": [r.lo for r in ranges], "his": [r.hi for r in ranges]}
    return {IdRange(lo, hi) for lo, hi in connection.execute(statement("status_begun"), ends)}
