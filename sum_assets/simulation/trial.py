"""One simulated full run: what each device did, and when."""

from dataclasses import dataclass
from typing import Literal

from sum_assets.simulation.fleet import Fleet

Kind = Literal["starting", "working", "lost", "finishing", "away"]
KINDS: tuple[Kind, ...] = ("working", "starting", "finishing", "lost", "away")


@dataclass(frozen=True, slots=True)
class Span:
    """What a device did from `start` to `end`, in seconds since the backfill was requested. Otherwise it waited.

    `rows` are the abstracts that were committed; of a lost span, the batch that must be generated again.
    """

    device: int
    kind: Kind
    start: float
    end: float
    run: int | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """One full run. `queue_empty` is when a device found the queue empty for the first time after all submissions."""

    seconds: float
    queue_empty: float
    spans: list[Span]

    def busy(self, kind: Kind, devices: range) -> float:
        """Return the seconds that these devices spent on one kind, in all."""
        return sum(min(s.end, self.seconds) - s.start for s in self.spans if s.kind == kind and s.device in devices)

    def rows(self, kind: Kind, devices: range) -> int:
        """Return the abstracts that these devices committed ("working") or lost ("lost")."""
        return sum(s.rows for s in self.spans if s.kind == kind and s.device in devices)


def device_numbers(fleet: Fleet) -> dict[str, range]:
    """Return the numbers of each group's devices."""
    numbers, first = {}, 0
    for name, group in fleet.devices.items():
        numbers[name] = range(first, first + group.count)
        first += group.count
    return numbers
