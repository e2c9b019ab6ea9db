"""Writes the published summaries to files, one for each ID range, and goes on where it was stopped."""

import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from psycopg import Connection
from psycopg.rows import dict_row
from pyarrow import csv, parquet

from sum_assets.database.connection import transaction
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.units import counted

#: Rows held in memory at once.
BATCH = 10_000
#: What was written, a line for each file; the last line of a file counts.
MANIFEST = "manifest.jsonl"
COLUMNS = pa.schema(
    [
        ("abstract_id", pa.int64()),
        ("summary", pa.string()),
        ("rejection", pa.string()),
        ("rejection_detail", pa.string()),
        ("fingerprint", pa.string()),
        ("model", pa.string()),
        ("source_hash", pa.string()),
        ("input_truncated", pa.bool_()),
        ("capped", pa.bool_()),
        ("run_id", pa.string()),
        ("published_at", pa.timestamp("us", tz="UTC")),
    ]
)


#: How a file is written: the end of its name.
Format = Literal["parquet", "jsonl", "csv"]
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class ExportedRange:
    """A file of an ID range: its rows, of which some are rejected abstracts, and the state that they were read in."""

    file: str
    published: int
    rejected: int
    state: str


class Export:
    """A folder of files. Raises UserError where it cannot be written, or holds files that it did not write."""

    def __init__(self, folder: Path, file_format: Format) -> None:
        self._folder, self._format = folder, file_format
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._written = _read_manifest(folder / MANIFEST)
            own = {name for name in self._written if name.endswith(f".{file_format}")}
            others = sorted(p.name for p in folder.iterdir() if p.name not in {MANIFEST, *own} and p.suffix != _PARTIAL)
        if others:
            raise UserError(
                f"The folder {folder} holds {counted(len(others), 'file')} that no export in the format {file_format} "
                f"wrote, the first {others[0]}. Name a new folder."
            )

    def remove_others(self, ranges: Collection[IdRange]) -> None:
        """Remove the files of ranges that are not among these: their rows are in other files now, or withdrawn."""
        for name in self._written.keys() - {self._name(id_range) for id_range in ranges}:
            with _writing(self._folder / name):
                (self._folder / name).unlink(missing_ok=True)

    def _name(self, id_range: IdRange) -> str:
        return f"{id_range.key}.{self._format}"

    def write(self, connection: Connection, id_range: IdRange) -> ExportedRange | None:
        """Write the file of a range, unless it holds what is published already. Without a summary there is no file."""
        name = self._name(id_range)
        path = self._folder / name
        parameters = {"lo": id_range.lo, "hi": id_range.hi}
        with transaction(connection, one_snapshot=True), _writing(path):
            row = connection.execute(statement("export_state"), parameters).fetchone()
            assert row is not None
            exported = ExportedRange(name, *row)
            if not exported.published:
                path.unlink(missing_ok=True)  # what was published of it has been withdrawn
                return None
            if self._written.get(name) == exported and path.exists():
                return exported
            partial = path.with_name(name + _PARTIAL)
            with partial.open("wb") as file:
                _WRITERS[self._format](file, _batches(connection, parameters))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            with (self._folder / MANIFEST).open("a", encoding="utf-8") as manifest:
                manifest.write(json.dumps(asdict(exported)) + "\n")
        self._written[name] = exported
        return exported


def _read_manifest(path: Path) -> dict[str, ExportedRange]:
    written = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            exported = ExportedRange(**json.loads(line))
        except (ValueError, TypeError):  # the line that was written at a crash
            continue
        written[exported.file] = exported
    return written


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _batches(connection: Connection, parameters: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    with connection.cursor("export", row_factory=dict_row) as cursor:
        cursor.execute(statement("export_rows"), parameters)
        while rows := cursor.fetchmany(BATCH):
            yield pa.RecordBatch.from_pylist(rows, schema=COLUMNS)


def _write_parquet(file: Any, batches: Iterator[pa.RecordBatch]) -> None:
    with parquet.ParquetWriter(file, COLUMNS, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(file: Any, batches: Iterator[pa.RecordBatch]) -> None:
    with csv.CSVWriter(file, COLUMNS) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_json_lines(file: Any, batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        for row in batch.to_pylist():
            file.write(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n")


_WRITERS: dict[Format, Callable[[Any, Iterator[pa.RecordBatch]], None]] = {
    "parquet": _write_parquet,
    "jsonl": _write_json_lines,
    "csv": _write_csv,
}
