"""One thing to prove, and what became of it: plain data, which goes to a child process and comes back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["ok", "failed", "left out"]


@dataclass(frozen=True)
class Machine:
    """Where cases run: the device by torch's name, a folder for models, and whether a CPU takes a GPU's place."""

    device: str
    folder: str
    rehearsal: bool

    @property
    def models(self) -> Path:
        """The folder of models, which later cases and later runs use again."""
        return Path(self.folder)


@dataclass(frozen=True)
class Case:
    """A check, or a rate to measure.

    `function` is "module:function", where a module of this package begins with a dot. It is called with a Machine and
    `arguments`. `limit` is in seconds. `alone` is for what a process does not survive, or must not share with others.
    One that `may_be_slow` is left out where the limit ends it, rather than failed.
    """

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    limit: float = 90.0
    alone: bool = False
    may_be_slow: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a case. `figures` has what was measured; `rates` the lines of the table of rates."""

    outcome: Outcome
    detail: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    rates: list[dict[str, Any]] = field(default_factory=list)


def check(wrong: list[str], right: str) -> Result:
    """Return a failure that lists what is wrong, or else success with `right`."""
    return Result("failed", "; ".join(wrong)) if wrong else Result("ok", right)
