"""Cuts the ID space into gapless ranges of about equal numbers of abstracts."""

import re
from collections.abc import Sequence

from psycopg import Connection
from psycopg.sql import SQL

from sum_assets.database.coverage import SOURCE, Span, rows_in, unusable_ids
from sum_assets.database.range_registry import gaps
from sum_assets.database.relations import find_relation
from sum_assets.database.source_table import recorded_source
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID, WIDTH, IdRange


def new_ranges(connection: Connection, ranges: Sequence[IdRange], rows: int) -> list[IdRange]:
    """Return ranges of at most `rows` abstracts for those that lie in no range: below, above or between the given.

    With the given ones they cover every ID of the source. Raises UserError where the source is empty, where no ID
    of it can be in a range, or where `rows` is not positive.
    """
    if rows < 1:
        raise UserError(f"A range holds at least one abstract, not {rows}.")
    found = rows_in(connection, SOURCE, gaps(ranges))
    if not found:
        if ranges and rows_in(connection, SOURCE, [IdRange(0, LARGEST_ID)]):
            return []
        raise no_abstracts(connection)
    new = []
    for gap in found:
        ids = gap.ids
        # Between two ranges the new ones leave no gap; at either end they end where the source does.
        lo = gap.first if not ranges or ids.hi < min(ranges).lo else ids.lo
        hi = gap.last if not ranges or ids.lo > max(r.hi for r in ranges) else ids.hi
        new += _cut(connection, IdRange(lo, hi), gap, rows)
    return sorted(new)


def no_abstracts(connection: Connection) -> UserError:
    """Return what to do where the source has no abstract that an ID range can hold."""
    unusable = unusable_ids(connection)
    says = f"None of the {unusable:,} rows of the source has an ID that an ID range can hold" if unusable else ""
    record = recorded_source(connection)
    if not unusable and record and record.skip_bad_ids and (left_out := _rows_of(connection, record.source)):
        says = f"All rows of {record.source} ({left_out:,}) are left out, since no ID range can hold their IDs"
    if says:
        return UserError(
            f"{says}: all are NULL, not a number, negative, or have more than {WIDTH} digits. Give the abstracts "
            "smaller numbers, in a table of your own that a view joins, and point sum_assets at the view: "
            "`sum-assets init --source schema.view`."
        )
    return UserError(
        "The source has no abstracts. Load some, `sum-assets load FILE...`, or point it at your table: "
        "`sum-assets init --source schema.table`."
    )


def _rows_of(connection: Connection, source: str) -> int:
    """Count the rows of the table behind the view; 0 where this role may not read it."""
    try:
        table = find_relation(connection, source).identifier
    except UserError:
        return 0
    (rows,) = connection.execute(SQL("SELECT count(*) FROM {}").format(table)).fetchone() or (0,)
    return int(rows)


def _cut(connection: Connection, span: IdRange, gap: Span, rows: int) -> list[IdRange]:
    """Cut a span into ranges; the last ends with the span, the IDs that are not there yet included."""
    parameters = {"lo": span.lo, "hi": span.hi, "rows": rows, "total": gap.rows}
    ends = [hi for (hi,) in connection.execute(statement("ranges_cut"), parameters)]
    if ends and ends[-1] == gap.last:
        ends.pop()
    ends.append(span.hi)  # an ID that the source has twice moves the ends, so that the last may be missing
    return [IdRange(lo, hi) for lo, hi in zip([span.lo, *(end + 1 for end in ends)], ends, strict=False)]


def full_ranges(connection: Connection, ranges: Sequence[IdRange]) -> list[IdRange]:
    """Return new ranges as large as the given ones are on average, and only those that are full."""
    if not ranges:
        return []
    lo, hi = min(ranges).lo, max(r.hi for r in ranges)
    below, within, above = IdRange(0, lo - 1), IdRange(lo, hi), IdRange(hi + 1, LARGEST_ID)
    counts = {span.ids: span.rows for span in rows_in(connection, SOURCE, [below, within, above])}
    rows = max(1, round(counts.get(within, 0) / len(ranges)))
    new = []
    for upwards, span in ((False, below), (True, above)):
        if counts.get(span, 0) < rows:
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
    without an index condition, or a condition that another server is sent, reads everything, whatever its nodes.
    """
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = connection.execute(
            "EXPLAIN (VERBOSE, FORMAT JSON) "
            "SELECT abstract FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %s AND %s",
            [span.lo, span.hi],
        ).fetchone()
    return re.search(r"'Index Cond'|'Remote SQL': '[^']*(?:''[^']*)* WHERE ", str(plan)) is None
