"""A finding: one thing that was looked at, and how it is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from sum_assets.database.server_errors import explained
from sum_assets.errors import UserError, first_line

#: `unsupported` is no fault: this machine, the model or an installed library cannot do it.
Level = Literal["ok", "warning", "failure", "unsupported"]
Part = Literal["machine", "model", "engines", "database", "dagster"]


@dataclass(frozen=True, slots=True)
class Finding:
    """How something is: a sentence that ends with what fixes it, unless it is ok.

    A failure keeps a run or the UI from working; with a warning they work, but not as well as they could.
    """

    part: Part
    level: Level
    subject: str
    message: str


def findings_of(part: Part, subject: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what a look finds. An error ends it, and is a failure of the subject: what was found before is kept."""
    findings: list[Finding] = []
    try:
        for finding in look():
            findings.append(finding)
    except Exception as error:  # a machine may be broken in any way, and the other parts are to answer
        shown = error if isinstance(error, UserError) else explained(error)
        message = str(shown) if shown else f"{type(error).__name__}: {first_line(error)}"
        findings.append(Finding(part, "failure", subject, message))
    return findings
