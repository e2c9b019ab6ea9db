"""Loads a file of abstracts into the corpus table: all of it in one transaction, or nothing."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from psycopg import Connection

from sum_assets.database.characters import unstorable
from sum_assets.database.connection import LOCK_TIMEOUT
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.ingest.id_space import agreed_id_space, corpus_id_space, lock_id_space, set_id_space
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import IdSpace, NoTitles, ReaderOptions, Record, Remark, Skipped, Withdrawal
from sum_assets.ingest.store import Order, store_records

BUFFER = 1 << 17  # bytes read from disk at once
# In binary, which the server reads twice as fast as text.
_COPY = (
    "COPY pg_temp.load_record (abstract_id, title, abstract, version, version_scheme, is_deletion) "
    "FROM STDIN (FORMAT binary)"
)
_TYPES = ("int8", "text", "text", "int8", "text", "bool")
EXAMPLES = 5  # of where a reason to skip was met


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Records of one file.

    `read` is the sum of inserted, updated, unchanged, older, repeated, deletions and all skipped.
    `older` are not loaded, since the stored version or withdrawal is newer; `repeated`, since the file has a newer
    record of the same ID. `incomparable` of the updated replace a text whose version does not compare. `withdrawn`
    counts stored abstracts that are gone; `kept` those that stay although the file has none for their ID.
    `titles_left_out` counts, by reason, records without their title; `title_examples` are the first IDs.
    """

    read: int
    inserted: int
    updated: int
    unchanged: int
    skipped: dict[str, int]
    examples: dict[str, list[str]]
    remarks: list[str] = field(default_factory=list)
    older: int = 0
    repeated: int = 0
    incomparable: int = 0
    deletions: int = 0
    withdrawn: int = 0
    kept: int = 0
    titles_left_out: dict[str, int] = field(default_factory=dict)
    title_examples: dict[str, int] = field(default_factory=dict)


def load_file(
    connection: Connection,
    path: Path,
    options: ReaderOptions | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    on_stored: Callable[[int, int], None] = lambda done, total: None,
) -> LoadReport:
    """Load the file in one transaction and return what became of its records.

    `connection` is in autocommit mode. `on_progress` gets, now and then, the number of bytes read so far of
    the file on disk; the last call gets its size. Then `on_stored` gets how much of how much is stored, or 0 of 0 where
    that cannot be said. Raises UserError, having loaded nothing, where the file
    is missing, of unknown format, cut off or corrupt, lacks a column, or has other IDs than the corpus.
    """
    try:
        size = path.stat().st_size
        file = _Counted(path, lambda count: on_progress(min(count, size)))
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}. Check its name and permissions.") from error
    options = options or ReaderOptions()
    texts = deletions = 0
    remarks: list[str] = []
    skipped: Counter[str] = Counter()
    examples: defaultdict[str, list[str]] = defaultdict(list)
    titles_left_out: Counter[str] = Counter()
    title_examples: dict[str, int] = {}
    keep_titles = False
    spaces: set[IdSpace | None] = set()
    order = Order()
    with io.BufferedReader(file, BUFFER) as stream, connection.transaction(), connection.cursor() as cursor:
        cursor.execute(statement("load_table").format(timeout=LOCK_TIMEOUT))
        corpus = corpus_id_space(connection)
        with closing(read_records(stream, path, options)) as records, cursor.copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for read in records:
                if isinstance(read, Remark):
                    remarks.append(read.text)
                    continue
                if isinstance(read, NoTitles):
                    keep_titles = True
                    remarks += [read.reason] if read.reason else []
                    continue
                record = _storable(connection, read)
                row: Record | Withdrawal | None
                if isinstance(record, Skipped):
                    skipped[record.reason] += 1
                    if len(examples[record.reason]) < EXAMPLES:
                        examples[record.reason].append(record.where)
                    row = record.withdrawal
                else:
                    row = record
                if row is None:
                    continue
                space = row.id_space or options.id_space
                if space not in spaces:
                    spaces.add(space)
                    _require_one_space(path, spaces)
                    agreed_id_space(path, space, options.id_space, corpus)  # before the whole file is read
                order.add(row.abstract_id)
                if isinstance(row, Record):
                    texts += 1
                    if row.title_left_out:
                        titles_left_out[row.title_left_out] += 1
                        title_examples.setdefault(row.title_left_out, row.abstract_id)
                    copy.write_row((row.abstract_id, row.title, row.abstract, row.version, row.version_scheme, False))
                else:
                    order.ascends = False  # it may withdraw what is stored
                    deletions += row.is_deletion
                    copy.write_row((row.abstract_id, None, None, row.version, row.version_scheme, row.is_deletion))
        if spaces:
            (space,) = spaces
            lock_id_space(connection)
            corpus = corpus_id_space(connection)
            agreed = agreed_id_space(path, space, options.id_space, corpus)
            set_id_space(connection, agreed)
            if space is None and agreed != "own":
                remarks.append("the IDs are taken for PMIDs, as those of the corpus are")
        on_progress(size)
        done = store_records(connection, order, keep_titles=keep_titles, on_stored=on_stored)
    loaded = sum(done[action] for action in ("insert", "update", "replace", "unchanged", "older"))
    return LoadReport(
        read=texts + deletions + skipped.total(),
        inserted=done["insert"],
        updated=done["update"] + done["replace"],
        unchanged=done["unchanged"],
        skipped=dict(skipped),
        examples=dict(examples),
        remarks=remarks,
        older=done["older"],
        repeated=texts - loaded,
        incomparable=done["replace"],
        deletions=deletions,
        withdrawn=done["withdraw"],
        kept=done["keep"],
        titles_left_out=dict(titles_left_out),
        title_examples=title_examples,
    )


def _require_one_space(path: Path, spaces: set[IdSpace | None]) -> None:
    """Raise UserError where a file has IDs such as PMC5 and others such as 5."""
    if len(spaces) > 1:
        raise UserError(
            f"{path} has IDs with PMC and bare numbers: PMC5 and 5 are two articles. Split it, or add --id-space pmc "
            "if all are PMC IDs."
        )


def _storable(connection: Connection, record: Record | Withdrawal | Skipped) -> Record | Withdrawal | Skipped:
    """Return what is left of a record in the encoding of the database: all of it, that is, if it is UTF8."""
    if not isinstance(record, Record) or connection.info.parameter_status("server_encoding") == "UTF8":
        return record
    if missing := unstorable(connection, record.abstract):
        return Skipped("unstorable_character", f"ID {record.abstract_id}, {missing}")
    if record.title and unstorable(connection, record.title):
        return replace(record, title=None, title_left_out="unstorable_character")
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
