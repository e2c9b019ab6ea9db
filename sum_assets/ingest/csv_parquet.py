"""Reads CSV and Parquet, by pandas in chunks."""

import io
import re
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from sum_assets.ingest.records import ReaderOptions, Record, Skipped, make_record

ROWS = 1_000  # held in memory at once
_VERSION = re.compile("-?[0-9]{1,18}")


def _columns(present: Iterable[str], options: ReaderOptions) -> list[str | None]:
    """Return the names of the columns of ID, abstract, title and version."""
    title = options.title_column or ("title" if "title" in present else None)
    columns = [options.id_column, options.abstract_column, title, options.version_column]
    for column in columns:
        if column is not None and column not in present:
            raise ValueError(f"there is no column {column} among {', '.join(present)}")
    return columns


def read_csv(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Record | Skipped]:
    """Yield the records of a CSV file in UTF-8 with a header."""
    # Invalid UTF-8 becomes lone surrogates: one record is skipped, not the file.
    frames = pd.read_csv(
        stream,
        dtype=object,
        na_filter=False,
        chunksize=ROWS,
        encoding="utf-8",
        encoding_errors="surrogateescape",
    )
    row = 0
    for frame in frames:
        if not isinstance(frame.index, pd.RangeIndex):
            raise ValueError("the first row has more fields than the header")
        columns = _columns(frame.columns, options)
        yield from _rows(frame, columns, row)
        row += len(frame)


def read_parquet(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Record | Skipped]:
    """Yield the records of a Parquet file."""
    # With pyarrow's own settings for these two, a row group (often the whole file) is read at once.
    file = parquet.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
    columns = _columns(file.schema_arrow.names, options)
    names = [name for name in columns if name]
    row = 0
    for batch in file.iter_batches(ROWS, columns=names, use_threads=False):
        frame = pa.table({name: _bytes(batch.column(name), name) for name in names}).to_pandas()
        yield from _rows(frame, columns, row)
        row += len(frame)


def _bytes(column: Any, name: str) -> Any:
    """As text, a column that is not all UTF-8 could become neither Python's nor pandas' strings."""
    try:
        return (column.cast(pa.string()) if pa.types.is_integer(column.type) else column).cast(pa.binary())
    except pa.ArrowNotImplementedError as error:
        raise ValueError(f"the column {name} is {column.type}, neither text nor integer") from error


def _rows(frame: pd.DataFrame, columns: list[str | None], before: int) -> Iterator[Record | Skipped]:
    cells = [frame[column] if column else repeat("") for column in columns]
    for row, values in enumerate(zip(*cells, strict=False), before + 1):
        abstract_id, abstract, title, version = (_text(value) for value in values)
        if version and not _VERSION.fullmatch(version):
            raise ValueError(f"the version {version[:40]!r} in row {row} is not a whole number")
        yield make_record(abstract_id, title, abstract, int(version or 0), f"row {row}")


def _text(cell: object) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    return cell if isinstance(cell, str) else ""
