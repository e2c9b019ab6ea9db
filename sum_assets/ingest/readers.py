"""Reads the records of a corpus file one by one: PubMed and JATS XML, CSV, JSON Lines and Parquet, also compressed."""

import bz2
import gzip
import io
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from lxml import etree

from sum_assets.errors import UserError
from sum_assets.ingest.csv_jsonl import read_csv, read_jsonl
from sum_assets.ingest.parquet import read_parquet
from sum_assets.ingest.pubmed_jats import read_xml
from sum_assets.ingest.records import Item, ReaderOptions

FORMATS = ".xml, .nxml, .csv, .tsv, .jsonl or .ndjson (also with .gz, .bz2 or .zst), or .parquet"


class _Zstandard(io.RawIOBase):
    """Arrow's decompression, for want of one in the standard library."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return int(self._stream.readinto(buffer))


_COMPRESSIONS: dict[str, Callable[[io.BufferedIOBase], io.BufferedIOBase]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": lambda stream: bz2.BZ2File(stream),
    ".zst": lambda stream: io.BufferedReader(_Zstandard(stream), 1 << 16),
}


def read_records(stream: io.BufferedIOBase, path: Path, options: ReaderOptions) -> Generator[Item, None, None]:
    """Yield the records of `stream`, the opened file `path`, in its order and in flat memory.

    Raises UserError, with the line or row where known, where the file has another format, is cut off or corrupt,
    or lacks a column.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes[-1:] and suffixes[-1] in _COMPRESSIONS else None
    if compression:
        stream = _COMPRESSIONS[compression](stream)
    records: Iterator[Item]
    match suffixes[-1:]:
        case [".xml" | ".nxml"]:
            records = read_xml(stream, options)
        case [".csv"]:
            records = read_csv(stream, options, options.delimiter or ",")
        case [".tsv"]:
            records = read_csv(stream, options, options.delimiter or "\t")
        case [".jsonl" | ".ndjson"]:
            records = read_jsonl(stream, options)
        case [".parquet"] if not compression:
            records = read_parquet(stream, options)
        case _:
            raise UserError(f"The format of {path} is unknown. Its name must end in {FORMATS}.")
    try:
        yield from records
    except etree.XMLSyntaxError as error:
        raise UserError(f"{path} is not complete XML: {error.msg}. Fetch it again.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut off or corrupt: {_reason(error)}. Fetch it again.") from error
    except UnicodeError as error:
        raise UserError(
            f"{path} is not in the encoding {options.encoding or 'UTF-8'}: {error}. Name it: --encoding."
        ) from error
    except OSError as error:
        damage = "cut off or corrupt" if compression else "unreadable"
        raise UserError(f"{path} is {damage}: {_reason(error)}. Fetch or write it again.") from error
    except pa.ArrowException as error:
        raise UserError(f"{path} is unreadable: {_reason(error)}. Fetch or write it again.") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}. Correct the file or the options.") from error


def _reason(error: Exception) -> str:
    return str(error).rstrip(". \n")
