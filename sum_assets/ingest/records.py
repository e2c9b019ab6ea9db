"""The records of a corpus file, and what makes one loadable."""

import re
from dataclasses import dataclass, field
from typing import Literal

from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID

Reason = Literal[
    "bad_id",
    "no_abstract",
    "nul_character",
    "lone_surrogate",
    "unstorable_character",
    "wrong_encoding",
    "unknown_entity",
]

#: The numbering that an ID belongs to. PMC5 and PMID 5 are two articles.
IdSpace = Literal["pmid", "pmc", "own"]
#: Versions compare within one scheme: PubMed's version and day, a column of the user's, or no version at all.
VersionScheme = Literal["pubmed", "column", "none"]

# Programs that hold missing IDs as NaN write all of them as floats: 12345.0.
_ID = re.compile(r"PMC([0-9]{1,20})|([0-9]{1,20})(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """Where a file holds what, and how it is written.

    `title_column=None` takes the column `title` if there is one; `delimiter=None` is a tab in .tsv, else a comma;
    `encoding=None` is UTF-8, and a file that is not is refused; `id_space` says what bare numbers are.
    Raises UserError where an option cannot be used.
    """

    id_column: str = "abstract_id"
    abstract_column: str = "abstract"
    title_column: str | None = None
    version_column: str | None = None
    jats_id: Literal["pmc", "pmid"] = "pmc"
    delimiter: str | None = None
    encoding: str | None = None
    backslash_escapes: bool = False
    id_space: IdSpace | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\\\r\n\0 '):
            raise UserError(f"--delimiter is {self.delimiter!r}. Name one character, such as ';', or tab.")
        try:
            "a".encode(self.encoding or "utf-8")
        except LookupError as error:
            raise UserError(
                f"--encoding {self.encoding} is unknown. Name one of Python's, such as cp1252 or utf-16."
            ) from error


@dataclass(frozen=True, slots=True)
class Record:
    """An abstract that PostgreSQL can hold. Of two of one ID the larger version is the newer.

    `id_space` is None where the ID is a bare number. `title_left_out` is why a title that the file has is None here.
    """

    abstract_id: int
    title: str | None
    abstract: str
    version: int
    version_scheme: VersionScheme = "none"
    id_space: IdSpace | None = None
    title_left_out: Reason | None = None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An ID whose stored abstract goes, if it is older: the file deletes it, or has a newer version without one."""

    abstract_id: int
    version: int
    version_scheme: VersionScheme
    id_space: IdSpace | None
    is_deletion: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that cannot be loaded: why, and where in the file a person finds it."""

    reason: Reason
    where: str
    withdrawal: Withdrawal | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person should know of the whole file."""

    text: str


@dataclass(frozen=True, slots=True)
class NoTitles:
    """The file has no column of titles, or none that can be read, for which `reason` says why. Stored titles stay."""

    reason: str = ""


Item = Record | Withdrawal | Skipped | Remark | NoTitles


def make_record(
    id_text: str,
    title: str,
    abstract: str,
    version: int,
    where: str,
    version_scheme: VersionScheme = "none",
    id_space: IdSpace | None = None,
) -> Record | Skipped:
    """Return a record where PostgreSQL can hold it, else the reason to skip it.

    An ID after `PMC` is a PMC ID; `id_space` is that of a bare number.
    """
    match = _ID.fullmatch(id_text.strip())
    abstract_id = int(match[1] or match[2]) if match else 0
    if match and match[1]:
        abstract_id, id_space = (0, None) if id_space == "pmid" else (abstract_id, "pmc")
    if not 1 <= abstract_id <= LARGEST_ID:
        return Skipped("bad_id", f"{where}, ID {id_text[:40]!r}")
    if not abstract.strip():
        withdrawal = Withdrawal(abstract_id, version, version_scheme, id_space, is_deletion=False)
        return Skipped("no_abstract", where, withdrawal)
    if reason := _unholdable(abstract):
        return Skipped(reason, where)
    # A title is not worth losing an abstract for.
    left_out = _unholdable(title) if title.strip() else None
    usable = title if title.strip() and not left_out else None
    return Record(abstract_id, usable, abstract, version, version_scheme, id_space, left_out)


def _unholdable(text: str) -> Reason | None:
    """Return why PostgreSQL cannot hold a text in any encoding."""
    if "\0" in text:
        return "nul_character"
    if _has_surrogates(text):
        return "wrong_encoding" if is_undecodable(text) else "lone_surrogate"
    return None


def make_deletion(
    id_text: str, version: int, where: str, scheme: VersionScheme, space: IdSpace
) -> Withdrawal | Skipped:
    """Return what withdraws an ID, or the reason to skip it."""
    record = make_record(id_text, "", "deleted", version, where, scheme, space)
    if isinstance(record, Skipped):
        return record
    return Withdrawal(record.abstract_id, version, scheme, record.id_space, is_deletion=True)


def is_undecodable(text: str) -> bool:
    """Tell whether a text has bytes that its encoding lacks, by `surrogateescape`, rather than lone surrogates."""
    if not _has_surrogates(text):
        return False
    try:
        text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogatepass")
    except UnicodeEncodeError:
        return False
    except UnicodeDecodeError:
        return True
    return False


def _has_surrogates(text: str) -> bool:
    """Tell whether a text cannot be written as UTF-8. Trying is much faster than a search for what prevents it."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
