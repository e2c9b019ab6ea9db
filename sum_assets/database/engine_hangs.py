"""Records which abstracts an engine may have hung on, for the next process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.abstract import Abstract
from sum_assets.database.results import ResultStore
from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange

#: Suspects that were left in a larger group are first tried so many at once; after that, one by one.
GROUP_SIZE = 16


@dataclass(frozen=True, slots=True)
class Suspect:
    """An abstract that was unfinished when an engine hung: `hangs` times, the smallest time among `group_size`."""

    abstract_id: int
    source_hash: bytes
    group_size: int
    hangs: int

    @property
    def to_blame(self) -> bool:
        """Whether the engine hung on it alone, and not for the first time."""
        return self.group_size == 1 and self.hangs > 1


def record_hang(connection: Connection, store: ResultStore, abstracts: Sequence[Abstract]) -> None:
    """Record what was unfinished when the engine hung."""
    ids, hashes = [a.abstract_id for a in abstracts], [a.source_hash for a in abstracts]
    parameters = {"fingerprint": store.fingerprint, "run_id": store.run_id, "ids": ids, "hashes": hashes}
    connection.execute(statement("engine_hang_record"), parameters)


def suspects(connection: Connection, store: ResultStore, ids: Sequence[int]) -> dict[int, Suspect]:
    """Return, by ID, which of these abstracts an engine may have hung on."""
    with connection.cursor(row_factory=class_row(Suspect)) as cursor:
        parameters = {"fingerprint": store.fingerprint, "ids": list(ids)}
        return {s.abstract_id: s for s in cursor.execute(statement("engine_hang_suspects"), parameters)}


def chunks(ids: Sequence[int], suspected: Mapping[int, Suspect], size: int) -> Iterator[Sequence[int]]:
    """Yield what is read at once: `size` IDs at a time, then suspects, in groups and alone."""
    grouped = [i for i, suspect in suspected.items() if suspect.group_size > GROUP_SIZE]
    alone = [i for i, suspect in suspected.items() if suspect.group_size <= GROUP_SIZE]
    plain = [i for i in ids if i not in suspected]
    for part, step in ((plain, size), (grouped, GROUP_SIZE), (alone, 1)):
        for start in range(0, len(part), step):
            yield part[start : start + step]


def forget_hangs(connection: Connection, store: ResultStore, id_range: IdRange) -> None:
    """Forget the hangs of a range that is done."""
    query = "DELETE FROM sum_assets.engine_hang WHERE fingerprint = %s AND abstract_id BETWEEN %s AND %s"
    connection.execute(query, [store.fingerprint, id_range.lo, id_range.hi])
