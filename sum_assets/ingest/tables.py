"""What CSV, JSON Lines and Parquet have in common: columns by name, and cells that become a record."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sum_assets.ingest.records import ReaderOptions, Record, Skipped, VersionScheme, is_undecodable, make_record

_VERSION = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that are read; None where the file needs none.

    `no_title` says why a column `title` that the file has is not read.
    """

    abstract_id: str
    abstract: str
    title: str | None
    version: str | None
    no_title: str = ""

    def names(self) -> list[str]:
        """Return the names of those there are."""
        return [name for name in (self.abstract_id, self.abstract, self.title, self.version) if name is not None]


def choose_columns(present: Sequence[str], options: ReaderOptions) -> Columns:
    """Return the columns to read. Raises ValueError where one is missing or not alone in its name."""
    title, no_title = options.title_column, ""
    if title is None and present.count("title") > 1:
        no_title = f"{present.count('title')} columns are called title, and are left out. Name another: --title-column"
    elif title is None and "title" in present:
        title = "title"
    columns = Columns(options.id_column, options.abstract_column, title, options.version_column, no_title)
    for name in columns.names():
        if name not in present:
            raise ValueError(f"there is no column {name} among {', '.join(present)[:500]}")
        if present.count(name) > 1:
            raise ValueError(f"{present.count(name)} columns are called {name}. Rename all but one")
    return columns


def table_record(cells: Sequence[object], row: int, options: ReaderOptions) -> Record | Skipped:
    """Return the record of a row: its ID, abstract, title and version. Raises ValueError naming the row."""
    abstract_id, abstract, title, version = (_text(cell, options.encoding) for cell in cells)
    if options.encoding is None and any(map(is_undecodable, (abstract_id, abstract, title))):
        raise ValueError(
            f"row {row} is not UTF-8. Name the encoding, such as --encoding cp1252. With --encoding utf-8, abstracts "
            "that are not UTF-8 are skipped and counted"
        )
    match = _VERSION.fullmatch(version)
    if version and not match:
        raise ValueError(f"the version {version[:40]!r} in row {row} is not a whole number")
    scheme: VersionScheme = "column" if options.version_column else "none"
    return make_record(abstract_id, title, abstract, int(match[1]) if match else 0, f"row {row}", scheme)


def _text(cell: object, encoding: str | None) -> str:
    if isinstance(cell, bytes):
        return cell.decode(encoding or "utf-8", "surrogateescape")
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else "" if cell != cell else str(cell)
    return "" if cell is None else str(cell)
