"""Reads the records of a corpus file one by one: PubMed XML, JATS XML, CSV and Parquet, plain or gzipped."""

import gzip
import io
import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pubmed_parser
import pyarrow as pa
from lxml import etree
from pyarrow import parquet

from sum_assets.errors import UserError

Reason = Literal["bad_id", "no_abstract", "nul_character", "lone_surrogate"]

FORMATS = ".xml, .nxml or .csv (also with .gz), or .parquet"
LARGEST_ID = 9_999_999_999  # the IDs of partition keys have ten digits
ROWS = 1_000  # of a table, held in memory at once

_ID = re.compile("(?:PMC)?([0-9]{1,20})")
_VERSION = re.compile("-?[0-9]{1,18}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JAVA_NUL = b"\xc0\x80"  # which no UTF-8 holds
# An entity that is left alone can read no file and open no connection, nor grow.
_XML = {"resolve_entities": False, "load_dtd": False, "no_network": True}


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """Where a file holds what; `title_column=None` takes the column `title` if there is one."""

    id_column: str = "abstract_id"
    abstract_column: str = "abstract"
    title_column: str | None = None
    version_column: str | None = None
    jats_id: Literal["pmc", "pmid"] = "pmc"


@dataclass(frozen=True, slots=True)
class Record:
    """An abstract that PostgreSQL can hold. Of two of one ID the larger version is the newer."""

    abstract_id: int
    title: str | None
    abstract: str
    version: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that cannot be loaded: why, and where in the file a person finds it."""

    reason: Reason
    where: str


def read_records(
    stream: io.BufferedIOBase, path: Path, options: ReaderOptions
) -> Generator[Record | Skipped, None, None]:
    """Yield the records of `stream`, the opened file `path`, in its order and in flat memory.

    Raises UserError, with the line or row where known, where the file is no such file, is cut off or corrupt,
    or lacks a column.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        stream, suffixes = gzip.GzipFile(fileobj=stream), suffixes[:-1]
    zipped = isinstance(stream, gzip.GzipFile)
    match suffixes[-1:]:
        case [".xml" | ".nxml"]:
            records = _xml(io.BufferedReader(stream, 1 << 16), options)
        case [".csv"]:
            records = _csv(stream, options)
        case [".parquet"] if not zipped:
            records = _parquet(stream, options)
        case _:
            raise UserError(f"The format of {path} is unknown. Its name must end in {FORMATS}.")
    try:
        yield from records
    except etree.XMLSyntaxError as error:
        raise UserError(f"{path} is no whole XML: {error.msg}. Fetch it again.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut off or corrupt: {error}. Fetch it again.") from error
    except UnicodeError as error:
        raise UserError(f"The header of {path} is not UTF-8: {error}. Convert the file to UTF-8.") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is unreadable: {error}. Fetch or write it again.") from error
    except ValueError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise UserError(f"{path}: {reason}. Correct the file or the options.") from error


def _record(id_text: str, title: str, abstract: str, version: int, where: str) -> Record | Skipped:
    found = _ID.fullmatch(id_text.strip())
    if not found or not 1 <= int(found[1]) <= LARGEST_ID:
        return Skipped("bad_id", f"{where}, ID {id_text[:40]!r}")
    if not abstract.strip():
        return Skipped("no_abstract", where)
    if "\0" in abstract:
        return Skipped("nul_character", where)
    if _SURROGATE.search(abstract):
        return Skipped("lone_surrogate", where)
    # A title is not worth losing an abstract for.
    usable = title.strip() and "\0" not in title and not _SURROGATE.search(title)
    return Record(int(found[1]), title if usable else None, abstract, version)


def _xml(stream: io.BufferedReader, options: ReaderOptions) -> Iterator[Record | Skipped]:
    """Tell PubMed from JATS by the root element, without reading on."""
    head = etree.XMLPullParser(events=["start"], **_XML)
    head.feed(stream.peek())
    root = next((element.tag for _, element in head.read_events()), None)
    if root == "PubmedArticleSet":
        yield from _pubmed(stream)
    elif root == "article":
        yield _jats(stream.read(), options)
    elif root is None:
        head.close()  # raises what is wrong
    else:
        raise ValueError(f"its root element is {root}, neither PubmedArticleSet (PubMed) nor article (JATS)")


def _pubmed(stream: io.BufferedReader) -> Iterator[Record | Skipped]:
    """pubmed_parser is not used here: it drops the version of a PMID, and text deep inside markup."""
    articles = etree.iterparse(stream, tag=("PubmedArticle", "PubmedBookArticle"), **_XML)
    for _, article in articles:
        yield _citation(article)
        article.clear()
        while article.getprevious() is not None:
            del article.getparent()[0]


def _citation(article: Any) -> Record | Skipped:
    head = next(article.iterchildren("MedlineCitation", "BookDocument"), article)
    body = head if head.tag == "BookDocument" else head.find("Article")
    pmid = head.findtext("PMID", "")
    where = f"PMID {pmid}" if pmid else f"line {article.sourceline}"
    if body is None:
        return _record(pmid, "", "", 0, where)
    parts = [(part.get("Label"), _plain(part)) for part in body.iterfind("Abstract/AbstractText")]
    abstract = "\n".join(f"{label}: {text}" if label else text for label, text in parts if text)
    version = int(head.find("PMID").get("Version", "1")) if pmid else 0
    return _record(pmid, _plain(body.find("ArticleTitle")), abstract, version * 100_000_000 + _day(head), where)


def _day(citation: Any) -> int:
    """Return the day of the last revision as yyyymmdd, 0 without one."""
    for name in ("DateRevised", "DateCompleted"):
        day = [citation.findtext(f"{name}/{part}", "") for part in ("Year", "Month", "Day")]
        if all(part.isdecimal() for part in day):
            return int(day[0]) * 10_000 + int(day[1]) * 100 + int(day[2])
    return 0


def _plain(element: Any) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _jats(article: bytes, options: ReaderOptions) -> Record | Skipped:
    meta = etree.fromstring(article, etree.XMLParser(**_XML)).find("front/article-meta")
    if meta is None:
        return _record("", "", "", 0, "article-meta")
    found = pubmed_parser.parse_pubmed_xml(io.BytesIO(_main_parts(meta)))
    article_id, title, abstract = (found[key] or "" for key in (options.jats_id, "full_title", "abstract"))
    return _record(article_id, " ".join(title.split()), " ".join(abstract.split()), 0, "the article")


def _main_parts(meta: Any) -> bytes:
    """Return an article with nothing but this head, made such that pubmed_parser 0.5.1 reads it well.

    As it stands it joins author summaries and the like to the abstract, puts a space around all markup, takes
    a formula's TeX for text, does not know a PMC ID by its newer name, and fails without a year of print.
    """
    abstracts = meta.findall("abstract")
    main = next((each for each in abstracts if each.get("abstract-type") is None), *abstracts[:1] or [None])
    for extra in [each for each in abstracts if each is not main] + meta.findall("pub-date"):
        meta.remove(extra)
    for tex in meta.iterfind(".//alternatives/tex-math"):
        tex.clear()
    for text in list(meta.iter("p", "title", "article-title", "subtitle")):
        plain = _plain(text)
        text.clear(keep_tail=True)
        text.text = plain
    for pmcid in meta.iterfind("article-id[@pub-id-type='pmcid']"):
        pmcid.set("pub-id-type", "pmc")
    meta.append(etree.fromstring("<pub-date pub-type='ppub'><year>1</year></pub-date>"))
    article = etree.Element("article")
    etree.SubElement(article, "front").append(meta)
    return bytes(etree.tostring(article))


def _columns(present: Iterable[str], options: ReaderOptions) -> list[str | None]:
    """Return the names of the columns of ID, abstract, title and version."""
    title = options.title_column or ("title" if "title" in present else None)
    columns = [options.id_column, options.abstract_column, title, options.version_column]
    for column in columns:
        if column is not None and column not in present:
            raise ValueError(f"there is no column {column} among {', '.join(present)}")
    return columns


class _WithoutNul(io.RawIOBase):
    """Spells NUL as Java does, since pandas before 3.1 silently cuts a field off at NUL."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer) // len(_JAVA_NUL)).replace(b"\0", _JAVA_NUL)
        buffer[: len(data)] = data
        return len(data)


def _csv(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Record | Skipped]:
    # Bytes that are no UTF-8 become lone surrogates, so that they cost one record and not the file.
    frames = pd.read_csv(
        io.BufferedReader(_WithoutNul(stream)),
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


def _parquet(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Record | Skipped]:
    # Without a buffer size, a row group (often the whole file) is read at once.
    file = parquet.ParquetFile(stream, buffer_size=1 << 20, page_checksum_verification=True)
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
            raise ValueError(f"the version {version[:40]!r} in row {row} is no whole number")
        yield _record(abstract_id, title, abstract, int(version or 0), f"row {row}")


def _text(cell: object) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    return cell.replace(_JAVA_NUL.decode("utf-8", "surrogateescape"), "\0") if isinstance(cell, str) else ""
