"""Reads CSV and JSON Lines."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import IO, Any, cast

from sum_assets.ingest.records import Item, NoTitles, ReaderOptions, Remark
from sum_assets.ingest.tables import Columns, choose_columns, table_record

_BACKSLASH = re.compile(r'\\([\\"]?)')
_LARGEST_ROW = 1 << 24  # characters: no quote that is left open, and no bomb, fills the memory


class _Lines:
    """The lines of a file, as long as `row_size`, which the reader of rows resets, stays small."""

    def __init__(self, stream: io.BufferedIOBase, encoding: str | None) -> None:
        # Bytes that the encoding lacks become lone surrogates, for `table_record` to judge.
        encoding = "utf-8-sig" if encoding is None or encoding.lower() in ("utf-8", "utf8") else encoding
        self._text = io.TextIOWrapper(cast(IO[bytes], stream), encoding, "surrogateescape", newline="")
        self.row_size = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(_LARGEST_ROW):
            self.row_size += len(line)
            if self.row_size >= _LARGEST_ROW:
                raise ValueError(f"a row has more than {_LARGEST_ROW >> 20} million characters. Is a quote left open?")
            yield line


def read_csv(stream: io.BufferedIOBase, options: ReaderOptions, delimiter: str) -> Iterator[Item]:
    """Yield the records of a CSV file with a header."""
    csv.field_size_limit(_LARGEST_ROW)
    lines = _Lines(stream, options.encoding)
    rows = csv.reader(
        _plain_backslashes_kept(lines) if options.backslash_escapes else lines,
        delimiter=delimiter,
        escapechar="\\" if options.backslash_escapes else None,
        strict=True,
    )
    row = -1
    header: list[str] = []
    try:
        for cells in rows:
            lines.row_size = 0
            if not cells:
                continue
            row += 1
            if row == 0:
                header = [name.lstrip("\ufeff") for name in cells]
                columns = _columns(header, options)
                if columns.title is None:
                    yield NoTitles(columns.no_title)
                names = (columns.abstract_id, columns.abstract, columns.title, columns.version)
                places = [None if name is None else header.index(name) for name in names]
                continue
            if len(cells) > len(header):
                raise ValueError(
                    f"row {row}, line {rows.line_num}, has {len(cells)} fields, {len(header)} are in the header. "
                    f"Quote fields that contain {delimiter!r}, or {_other_escapes(options)}"
                )
            # A short row lacks its last fields; \N is how databases write NULL.
            texts = [cells[at] if at is not None and at < len(cells) else "" for at in places]
            yield table_record(["" if text == "\\N" else text for text in texts], row, options)
    except csv.Error as error:
        what = "ends inside quotes" if "end of data" in str(error) else "has text after a closing quote"
        what = what if "expected after" in str(error) or "end of data" in str(error) else f"cannot be read: {error}"
        raise ValueError(
            f"row {row + 1}, line {rows.line_num}, {what}. Double the quotes in it, or {_other_escapes(options)}"
        ) from error
    if not header:
        raise ValueError("it is empty: there is no header")


def _other_escapes(options: ReaderOptions) -> str:
    if options.backslash_escapes:
        return "leave out --backslash-escapes if backslashes are text in the file"
    return 'add --backslash-escapes if the file writes quotes as \\"'


def _columns(header: list[str], options: ReaderOptions) -> Columns:
    if re.search("[\udc80-\udcff\0]", "".join(header)):
        # Text in an encoding of two bytes is half NUL.
        such = "utf-16" if "\0" in "".join(header) else "cp1252"
        raise ValueError(
            f"its header is not {options.encoding or 'UTF-8'}. Name the encoding, such as --encoding {such}"
        )
    if len(header) == 1 and options.id_column != header[0]:
        raise ValueError(
            f"there is one column, {header[0][:200]}. Name what is between columns, such as --delimiter tab"
        )
    return choose_columns(header, options)


def _plain_backslashes_kept(lines: _Lines) -> Iterator[str]:
    """Escape the backslashes that escape no quote and no backslash: they are text, as is the NULL of databases, \\N.

    Programs that escape quotes by backslashes leave all others, as in TeX, as they are. `csv` would drop these.
    """
    for line in lines:
        yield _BACKSLASH.sub(lambda match: match[0] if match[1] else "\\\\", line)


def read_jsonl(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Item]:
    """Yield the records of a file with a JSON object on each line."""
    lines = _Lines(stream, options.encoding)
    columns = Columns(
        options.id_column, options.abstract_column, options.title_column or "title", options.version_column
    )
    seen: set[str] = set()
    row, remarked = 0, False
    for line in lines:
        lines.row_size = 0
        if not line.strip():
            continue
        row += 1
        cells = _object(line, row, columns, options)
        title = cells.get(columns.title or "")
        if isinstance(title, list | dict | bool):
            if options.title_column:
                raise ValueError(f"the title in row {row} is {_TYPES[type(title)]}, not text")
            del cells["title"]
            if not remarked:
                remarked = True
                yield Remark(f"titles that are not one text are left out, the first in row {row}")
        seen |= cells.keys()
        abstract = cells.get(columns.abstract)
        if isinstance(abstract, list | dict | bool):
            raise ValueError(f"the abstract in row {row} is {_TYPES[type(abstract)]}, not text")
        names = (columns.abstract_id, columns.abstract, columns.title, columns.version)
        yield table_record([cells.get(name) if name else None for name in names], row, options)
    for name in columns.names():
        if row and name not in seen and (name != "title" or options.title_column):
            raise ValueError(f"no row has the key {name}")
    if columns.title not in seen:
        yield NoTitles()


_TYPES: dict[type, str] = {list: "a list", dict: "an object", bool: "true or false"}


def _object(line: str, row: int, columns: Columns, options: ReaderOptions) -> dict[str, Any]:
    """Return the keys that are read, of a line; several titles as a list. Raises ValueError naming the row."""
    twice: list[str] = []
    asked = (columns.abstract_id, columns.abstract, columns.version)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice[:] = [name for name in columns.names() if names.count(name) > 1]
        if twice == ["title"] and options.title_column is None and "title" not in asked:
            twice.clear()
            return {**dict(pairs), "title": [title for name, title in pairs if name == "title"]}
        return dict(pairs)

    try:
        value = json.loads(line, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"row {row} is not a JSON object on one line: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"row {row} is not a JSON object on one line")
    if twice:
        raise ValueError(f"row {row} has the key {twice[0]} twice")
    return {name: value[name] for name in columns.names() if name in value}
