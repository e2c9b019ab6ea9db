"""Loads a file of abstracts into the corpus table: all of it in one transaction, or nothing."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from psycopg import Connection

from sum_assets.database.characters import unstorable
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import ReaderOptions, Record, Skipped

BUFFER = 1 << 17  # bytes read from disk at once
EXAMPLES = 5  # of where a reason to skip was met


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Records of one file: `read` is the sum of inserted, updated, unchanged and all skipped.

    `unchanged` are those stored already, or not as new as the stored one or another of the same file.
    """

    read: int
    inserted: int
    updated: int
    unchanged: int
    skipped: dict[str, int]
    examples: dict[str, list[str]]


def load_file(
    connection: Connection,
    path: Path,
    options: ReaderOptions | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> LoadReport:
    """Load the file in one transaction and return what became of its records.

    `connection` is in autocommit mode. `on_progress` gets, now and then, the number of bytes read so far of
    the file on disk; the last call gets its size. Raises UserError, having loaded nothing, where the file
    is missing, of unknown format, cut off or corrupt, or lacks a column.
    """
    try:
        size = path.stat().st_size
        file = _Counted(path, lambda count: on_progress(min(count, size)))
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}. Check its name and permissions.") from error
    loadable = 0
    skipped: Counter[str] = Counter()
    examples: defaultdict[str, list[str]] = defaultdict(list)
    with io.BufferedReader(file, BUFFER) as stream, connection.transaction(), connection.cursor() as cursor:
        cursor.execute(statement("load_table"))
        with (
            closing(read_records(stream, path, options or ReaderOptions())) as records,
            cursor.copy("COPY pg_temp.load_record (abstract_id, title, abstract, version) FROM STDIN") as copy,
        ):
            for read in records:
                record = _storable(connection, read)
                if isinstance(record, Skipped):
                    skipped[record.reason] += 1
                    if len(examples[record.reason]) < EXAMPLES:
                        examples[record.reason].append(record.where)
                else:
                    loadable += 1
                    copy.write_row((record.abstract_id, record.title, record.abstract, record.version))
        inserted, updated = cursor.execute(statement("load_upsert")).fetchone() or (0, 0)
    on_progress(size)
    return LoadReport(
        read=loadable + skipped.total(),
        inserted=inserted,
        updated=updated,
        unchanged=loadable - inserted - updated,
        skipped=dict(skipped),
        examples=dict(examples),
    )


def _storable(connection: Connection, record: Record | Skipped) -> Record | Skipped:
    """Return what is left of a record in the encoding of the database: all of it, that is, if it is UTF8."""
    if isinstance(record, Skipped):
        return record
    if missing := unstorable(connection, record.abstract):
        return Skipped("unstorable_character", f"ID {record.abstract_id}, {missing}")
    if record.title and unstorable(connection, record.title):
        return replace(record, title=None)
    return record


class _Counted(io.FileIO):
    """Tells how many bytes were read: progress through a gzipped file shows only below its decompression."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(path)
        self._on_read = on_read
        self._count = 0

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        self._count += count
        self._on_read(self._count)
        return count
