"""A table of a report: for a terminal, and for every file format."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the report, with its title and a note below."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    note: str = ""

    def of_columns(self, headings: Sequence[str]) -> "Section":
        """Return the table of these columns alone, in their order, with title and note."""
        places = [self.headings.index(heading) for heading in headings]
        return replace(self, headings=list(headings), rows=[[row[i] for i in places] for row in self.rows])
