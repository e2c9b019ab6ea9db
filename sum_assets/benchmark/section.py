"""A table of a report: for a terminal, and for every file format."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the report, with its title and a note below."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    note: str = ""
