"""Remembers what an engine may have hung on, for the process after it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.database.results import SourceRow, Writer
from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange

#: Of those that were left when an engine hung, so many at once; then, one by one.
APART = 16


@dataclass(frozen=True, slots=True)
class Suspect:
    """An abstract that was not finished when an engine hung: `hangs` times, the last time among `together`."""

    abstract_id: int
    source_hash: bytes
    together: int
    hangs: int

    @property
    def to_blame(self) -> bool:
        """Whether the engine hung on it alone, and not for the first time."""
        return self.together == 1 and self.hangs > 1


def note_hang(connection: Connection, writer: Writer, rows: Sequence[SourceRow]) -> None:
    """Note what was not finished when the engine hung."""
    ids, hashes = [row.abstract_id for row in rows], [row.source_hash for row in rows]
    parameters = {"fingerprint": writer.fingerprint, "run_id": writer.run_id, "ids": ids, "hashes": hashes}
    connection.execute(statement("engine_hang_note"), parameters)


def suspects(connection: Connection, writer: Writer, ids: Sequence[int]) -> dict[int, Suspect]:
    """Return, by ID, which of these abstracts an engine may have hung on."""
    with connection.cursor(row_factory=class_row(Suspect)) as cursor:
        parameters = {"fingerprint": writer.fingerprint, "ids": list(ids)}
        return {s.abstract_id: s for s in cursor.execute(statement("engine_hang_suspects"), parameters)}


def windows(ids: Sequence[int], suspected: Mapping[int, Suspect], size: int) -> Iterator[Sequence[int]]:
    """Yield what the engine gets at once: last, and apart, what it may have hung on."""
    many = [i for i, suspect in suspected.items() if suspect.together > APART]
    few = [i for i, suspect in suspected.items() if suspect.together <= APART]
    for part, step in (([i for i in ids if i not in suspected], size), (many, APART), (few, 1)):
        for start in range(0, len(part), step):
            yield part[start : start + step]


def forget_hangs(connection: Connection, writer: Writer, id_range: IdRange) -> None:
    """Forget the hangs of a range that is done."""
    query = "DELETE FROM sum_assets.engine_hang WHERE fingerprint = %s AND abstract_id BETWEEN %s AND %s"
    connection.execute(query, [writer.fingerprint, id_range.lo, id_range.hi])
