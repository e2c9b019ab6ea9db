"""Counts the summaries of a range that met a limit of the model."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange


@dataclass(frozen=True, slots=True)
class SummaryCounts:
    """Numbers of summaries: all, those of an abstract cut to the input limit, those cut off at the output limit."""

    summaries: int
    truncated: int
    capped: int


def count_summaries(connection: Connection, id_range: IdRange, fingerprint: str | None) -> SummaryCounts:
    """Count the summaries of a range under a fingerprint; there are none without one."""
    parameters = {"lo": id_range.lo, "hi": id_range.hi, "fingerprint": fingerprint}
    with connection.cursor(row_factory=class_row(SummaryCounts)) as cursor:
        row = cursor.execute(statement("summary_counts"), parameters).fetchone()
    assert row is not None
    return row
