"""Reads Parquet, in batches."""

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sum_assets.ingest.records import Item, NoTitles, ReaderOptions
from sum_assets.ingest.tables import choose_columns, table_record

ROWS = 1_000  # held in memory at once


def read_parquet(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Item]:
    """Yield the records of a Parquet file."""
    # With pyarrow's own settings for these two, a row group (often the whole file) is read at once.
    file = parquet.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
    schema = file.schema_arrow
    columns = choose_columns(schema.names, options)
    if columns.title and options.title_column is None and not _is_text(schema.field(columns.title).type):
        says = f"the column title is {schema.field(columns.title).type}, not text, and is left out"
        columns = replace(columns, title=None, no_title=says)
    if columns.title is None:
        yield NoTitles(columns.no_title)
    for name in columns.names():
        kind = schema.field(name).type
        if not _is_text(kind) and not (name in (columns.abstract_id, columns.version) and _is_number(kind)):
            raise ValueError(f"the column {name} is {kind}, neither text nor a number")
    before = 0
    for batch in file.iter_batches(ROWS, columns=columns.names(), use_threads=False):
        cells = [
            _cells(batch.column(name)) if name else repeat(None)
            for name in (columns.abstract_id, columns.abstract, columns.title, columns.version)
        ]
        for row, values in enumerate(zip(*cells, strict=False), before + 1):
            yield table_record(values, row, options)
        before += batch.num_rows


def _is_text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "integer", "null")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _is_number(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cells(column: Any) -> list[object]:
    """Return the values; text as bytes, for what is not UTF-8 could become no string of Python's."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = column.cast(kind)
    else:
        values = (column.cast(pa.string()) if pa.types.is_decimal(kind) else column).cast(pa.binary())
    return list(values.to_pylist())
