"""The records of a corpus file, and what makes one loadable."""

import re
from dataclasses import dataclass
from typing import Literal

from sum_assets.id_range import LARGEST_ID

Reason = Literal["bad_id", "no_abstract", "nul_character", "lone_surrogate", "unstorable_character"]

_ID = re.compile("(?:PMC)?([0-9]{1,20})")
_SURROGATE = re.compile("[\ud800-\udfff]")


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


def make_record(id_text: str, title: str, abstract: str, version: int, where: str) -> Record | Skipped:
    """Return a record where PostgreSQL can hold it, else the reason to skip it."""
    match = _ID.fullmatch(id_text.strip())
    if not match or not 1 <= int(match[1]) <= LARGEST_ID:
        return Skipped("bad_id", f"{where}, ID {id_text[:40]!r}")
    if not abstract.strip():
        return Skipped("no_abstract", where)
    if "\0" in abstract:
        return Skipped("nul_character", where)
    if _SURROGATE.search(abstract):
        return Skipped("lone_surrogate", where)
    # A title is not worth losing an abstract for.
    usable = title.strip() and "\0" not in title and not _SURROGATE.search(title)
    return Record(int(match[1]), title if usable else None, abstract, version)
