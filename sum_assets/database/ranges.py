"""Cuts the ID space into gapless ranges of about equal numbers of abstracts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID, IdRange


@dataclass(frozen=True, slots=True)
class Extent:
    """How many abstracts the source holds, and how many of them lie below and above the ranges."""

    abstracts: int
    lowest: int | None
    highest: int | None
    below: int
    above: int
    unusable: int


def extent(connection: Connection, ranges: Sequence[IdRange]) -> Extent:
    """Count what the source holds in and around the ranges (all of it is above, without ranges)."""
    ends = {"lo": min(ranges).lo, "hi": max(ranges).hi} if ranges else {"lo": 0, "hi": -1}
    with connection.cursor(row_factory=class_row(Extent)) as cursor:
        row = cursor.execute(statement("ranges_extent"), ends | {"largest": LARGEST_ID}).fetchone()
    assert row is not None
    return row


def new_ranges(connection: Connection, ranges: Sequence[IdRange], rows: int) -> list[IdRange]:
    """Return ranges of at most `rows` abstracts for those that lie below or above the given ranges.

    With the given ones they tile the ID space from the lowest to the highest ID. Raises UserError where
    the source is empty or `rows` is not positive.
    """
    if rows < 1:
        raise UserError(f"A range holds at least one abstract, not {rows}.")
    now = extent(connection, ranges)
    if now.lowest is None or now.highest is None:
        raise UserError(
            "The source has no abstracts. Load some, `sum-assets load FILE...`, or point it at your table: "
            "`sum-assets init --source schema.table`."
        )
    if not ranges:
        return _cut(connection, IdRange(now.lowest, now.highest), now.abstracts, rows)
    lo, hi = min(ranges).lo, max(ranges).hi
    below = _cut(connection, IdRange(now.lowest, lo - 1), now.below, rows) if now.below else []
    above = _cut(connection, IdRange(hi + 1, now.highest), now.above, rows) if now.above else []
    if below:  # the last piece ends at its last ID: the gap up to the ranges there are is its own
        below[-1] = IdRange(below[-1].lo, lo - 1)
    return below + above


def _cut(connection: Connection, span: IdRange, abstracts: int, rows: int) -> list[IdRange]:
    parts = math.ceil(abstracts / rows)
    cut = connection.execute(statement("ranges_cut"), {"lo": span.lo, "hi": span.hi, "parts": parts}).fetchall()
    ends = [hi for hi, _ in cut]
    return [IdRange(lo, hi) for lo, hi in zip([span.lo, *(end + 1 for end in ends)], ends, strict=False)]


def full_ranges(connection: Connection, ranges: Sequence[IdRange]) -> list[IdRange]:
    """Return new ranges as large as the given ones are on average, and only those that are full."""
    if not ranges:
        return []
    now = extent(connection, ranges)
    rows = max(1, round((now.abstracts - now.below - now.above) / len(ranges)))
    lo, hi = min(ranges).lo, max(ranges).hi
    new = []
    for upwards, span, abstracts in (
        (False, IdRange(0, lo - 1), now.below),
        (True, IdRange(hi + 1, LARGEST_ID), now.above),
    ):
        if abstracts < rows:
            continue
        near = lo - 1 if not upwards else hi + 1
        parameters = {"upwards": upwards, "lo": span.lo, "hi": span.hi, "rows": rows}
        for (end,) in connection.execute(statement("ranges_full"), parameters):
            new.append(IdRange(near, end) if upwards else IdRange(end, near))
            near = end + 1 if upwards else end - 1
    return sorted(new)


def scans_sequentially(connection: Connection, span: IdRange) -> bool:
    """Return whether reading a range must scan the whole table, for want of an index on the ID.

    The planner is asked with sequential scans discouraged, since it rightly prefers one on a small table. A plan
    without an index condition reads everything, whatever its nodes.
    """
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = connection.execute(
            "EXPLAIN (FORMAT JSON) SELECT abstract FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %s AND %s",
            [span.lo, span.hi],
        ).fetchone()
    return "'Index Cond'" not in str(plan)
