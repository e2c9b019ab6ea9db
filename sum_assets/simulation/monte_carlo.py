"""Monte Carlo simulation: repeats a simulated full run, and sums up days, idle share and lost work."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sum_assets.simulation.fleet import Fleet
from sum_assets.simulation.simulator import run_trial
from sum_assets.simulation.trial import KINDS, Trial, device_numbers
from sum_assets.units import count, duration


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the repetitions: its median, and the 5th and 95th percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the percentiles of these values."""
        low, median, high = np.percentile(values, [5, 50, 95])
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True, slots=True)
class GroupShare:
    """What the devices of one kind did: means over the repetitions.

    `shares` are shares of their time until the last run ended: one for each of `KINDS`, and `waiting`. `source` says
    where the rate is from, `assumed` that nobody measured it.
    """

    name: str
    count: int
    abstracts_per_second: float
    rows_per_device: float
    shares: dict[str, float]
    source: str
    assumed: bool


@dataclass(frozen=True, slots=True)
class Simulation:
    """The result over all repetitions.

    `idle` is the share of all devices' time in which no summary was generated that was kept. `tail_hours` are from
    the moment when a device finds no run left until the end. Lost rows were generated, and then generated again.
    `example` is the first repetition.
    """

    rows: int
    repetitions: int
    days: Spread
    idle: Spread
    tail_hours: Spread
    lost_rows: Spread
    lost_hours: Spread
    groups: list[GroupShare]
    example: Trial

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        days, lost = self.days, self.lost_rows
        return (
            f"{count(self.rows)} abstracts: {duration(days.median)} ({duration(days.low)} to {duration(days.high)}); "
            f"devices idle {self.idle.median:.1%} ({self.idle.low:.1%} to {self.idle.high:.1%}) of it; "
            f"{lost.median:,.0f} abstracts ({lost.low:,.0f} to {lost.high:,.0f}) generated again"
        )

    @property
    def assumptions(self) -> list[str]:
        """A line for each group whose rate was not measured, with the source of the assumption."""
        return [f"{g.name}: {g.abstracts_per_second:g} abstracts/s: {g.source}" for g in self.groups if g.assumed]

    def as_json(self) -> dict[str, Any]:
        """Return everything but the example as plain numbers."""
        spreads = {
            name: asdict(getattr(self, name)) for name in ("days", "idle", "tail_hours", "lost_rows", "lost_hours")
        }
        groups = [asdict(group) for group in self.groups]
        return {"rows": self.rows, "repetitions": self.repetitions} | spreads | {"groups": groups}


def simulate(fleet: Fleet) -> Simulation:
    """Simulate a full run as often as the fleet says. Raises UserError if failures keep a run from ending."""
    trials = [run_trial(fleet, repetition) for repetition in range(fleet.repetitions)]
    numbers = device_numbers(fleet)
    everyone = range(sum(group.count for group in fleet.devices.values()))
    groups = []
    for name, group in fleet.devices.items():
        time = sum(t.seconds for t in trials) * group.count
        shares = {kind: sum(t.busy(kind, numbers[name]) for t in trials) / time for kind in KINDS}
        groups.append(
            GroupShare(
                name=name,
                count=group.count,
                abstracts_per_second=group.abstracts_per_second or 0,
                rows_per_device=sum(t.rows("working", numbers[name]) for t in trials) / len(trials) / group.count,
                shares={str(kind): share for kind, share in shares.items()} | {"waiting": 1 - sum(shares.values())},
                source=group.assumption or group.measured or "",
                assumed=group.assumption is not None,
            )
        )
    return Simulation(
        rows=fleet.rows,
        repetitions=fleet.repetitions,
        days=Spread.of([t.seconds / 86400 for t in trials]),
        idle=Spread.of([1 - t.busy("working", everyone) / t.seconds / len(everyone) for t in trials]),
        tail_hours=Spread.of([(t.seconds - t.queue_empty) / 3600 for t in trials]),
        lost_rows=Spread.of([t.rows("lost", everyone) for t in trials]),
        lost_hours=Spread.of([t.busy("lost", everyone) / 3600 for t in trials]),
        groups=groups,
        example=trials[0],
    )
