"""Reads the records of a corpus file one by one: PubMed XML, JATS XML, CSV and Parquet, plain or gzipped."""

import gzip
import io
import zlib
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
from lxml import etree

from sum_assets.errors import UserError
from sum_assets.ingest.csv_parquet import read_csv, read_parquet
from sum_assets.ingest.pubmed_jats import read_xml
from sum_assets.ingest.records import ReaderOptions, Record, Skipped

FORMATS = ".xml, .nxml or .csv (also with .gz), or .parquet"


def read_records(
    stream: io.BufferedIOBase, path: Path, options: ReaderOptions
) -> Generator[Record | Skipped, None, None]:
    """Yield the records of `stream`, the opened file `path`, in its order and in flat memory.

    Raises UserError, with the line or row where known, where the file has another format, is cut off or corrupt,
    or lacks a column.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        stream, suffixes = gzip.GzipFile(fileobj=stream), suffixes[:-1]
    zipped = isinstance(stream, gzip.GzipFile)
    match suffixes[-1:]:
        case [".xml" | ".nxml"]:
            records = read_xml(stream, options)
        case [".csv"]:
            records = read_csv(stream, options)
        case [".parquet"] if not zipped:
            records = read_parquet(stream, options)
        case _:
            raise UserError(f"The format of {path} is unknown. Its name must end in {FORMATS}.")
    try:
        yield from records
    except etree.XMLSyntaxError as error:
        raise UserError(f"{path} is not complete XML: {error.msg}. Fetch it again.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut off or corrupt: {error}. Fetch it again.") from error
    except UnicodeError as error:
        raise UserError(f"The header of {path} is not UTF-8: {error}. Convert the file to UTF-8.") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is unreadable: {error}. Fetch or write it again.") from error
    except ValueError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise UserError(f"{path}: {reason}. Correct the file or the options.") from error
