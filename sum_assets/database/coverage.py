"""Counts the rows that lie in no ID range, by an index where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.sql import Identifier

from sum_assets.database.statements import statement
from sum_assets.id_range import LARGEST_ID, IdRange

SOURCE = Identifier("sum_assets", "source_abstract")
PUBLISHED = Identifier("sum_assets", "abstract_summary")
#: The IDs below and above all that a range can hold.
OUTSIDE = (IdRange(-(2**63), -1), IdRange(LARGEST_ID + 1, 2**63 - 1))


@dataclass(frozen=True, slots=True)
class Span:
    """Some IDs, how many rows have one of them, and the lowest and highest of these."""

    ids: IdRange
    rows: int
    first: int
    last: int


def rows_in(connection: Connection, table: Identifier, spans: Sequence[IdRange]) -> list[Span]:
    """Return those of the spans in which the table has rows."""
    ends = {"los": [s.lo for s in spans], "his": [s.hi for s in spans]}
    found = connection.execute(statement("coverage_rows").format(table=table), ends)
    return [Span(IdRange(lo, hi), rows, first, last) for lo, hi, rows, first, last in found]


def unusable_ids(connection: Connection) -> int:
    """Count the source's rows whose ID is NULL, or below or above all that a range can hold."""
    row = connection.execute("SELECT count(*) FROM sum_assets.source_abstract WHERE abstract_id IS NULL").fetchone()
    assert row is not None
    return int(row[0]) + sum(span.rows for span in rows_in(connection, SOURCE, OUTSIDE))


def repeated_ids(connection: Connection, ids: IdRange) -> tuple[int, int | None]:
    """Return how many of these IDs the source lists more than once, and the first of them."""
    row = connection.execute(statement("source_repeated"), {"lo": ids.lo, "hi": ids.hi}).fetchone()
    assert row is not None
    return row[0], row[1]
