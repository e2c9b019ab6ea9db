"""Proves in SQL that what is published is whole."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.database.coverage import OUTSIDE, PUBLISHED, SOURCE, Span, rows_in, unusable_ids
from sum_assets.database.range_registry import gaps
from sum_assets.database.source import naming_rows
from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange


@dataclass(frozen=True, slots=True)
class RangeState:
    """A range compared with one fingerprint, in numbers of abstracts.

    `missing` are neither generated nor rejected; `stale` have a result or a published summary of an earlier
    text; `pending` is what a run still has to do; `duplicates` are both generated and rejected, or listed
    twice by the source; `orphans` are published without a source; `differing` are published otherwise than
    generated, or not at all. `content_hash` is the hash of the range's texts, the same as its Profile's.
    """

    fingerprint: str | None
    source: int
    summarized: int
    rejected: int
    published: int
    missing: int
    stale: int
    pending: int
    duplicates: int
    orphans: int
    differing: int
    content_hash: str

    @property
    def complete(self) -> bool:
        """Whether every abstract of the range has one current result."""
        return not (self.pending or self.duplicates)

    @property
    def sound(self) -> bool:
        """Whether nothing is published here, or all of it and nothing else."""
        return not self.published or (self.complete and not (self.stale or self.orphans or self.differing))


def verify_range(connection: Connection, id_range: IdRange, fingerprint: str | None = None) -> RangeState:
    """Compare a range with a fingerprint: the given one, else the published, else the newest.

    Raises UserError where a row of the source cannot be read.
    """
    parameters = {"lo": id_range.lo, "hi": id_range.hi, "fingerprint": fingerprint}
    with naming_rows(connection, id_range), connection.cursor(row_factory=class_row(RangeState)) as cursor:
        row = cursor.execute(statement("verify_range"), parameters).fetchone()
    assert row is not None
    return row


def without_results(rows: int) -> RangeState:
    """Return the state of a range of so many rows of which nothing was generated, rejected or published."""
    return RangeState(None, rows, 0, 0, 0, rows, 0, rows, 0, 0, 0, content_hash="")


def uncovered(connection: Connection, ranges: Sequence[IdRange]) -> int:
    """Count the source rows that lie in none of the ranges, those without a usable ID among them."""
    return unusable_ids(connection) + sum(span.rows for span in rows_in(connection, SOURCE, gaps(ranges)))


def stray(connection: Connection, ranges: Sequence[IdRange]) -> list[Span]:
    """Return the spans of IDs outside all ranges in which something is published."""
    return rows_in(connection, PUBLISHED, sorted([*gaps(ranges), *OUTSIDE]))
