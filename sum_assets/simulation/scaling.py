"""Plays a full run with other numbers of devices: what one more saves, and from when on it does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from sum_assets.simulation.fleet import Fleet
from sum_assets.simulation.summary import Simulation, simulate

_BLUE, _DARK = "#0072b2", "#222222"  # of the palette of Okabe and Ito (2008)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A run with `count` devices of a kind; `perfect_days` are the first count's by the ratio of all devices' rates."""

    count: int
    simulation: Simulation
    perfect_days: float

    def as_json(self) -> dict[str, Any]:
        """Return the count and the simulation's numbers."""
        return {"devices": self.count, "perfect_days": self.perfect_days} | self.simulation.as_json()


def scale(fleet: Fleet, kind: str, counts: Sequence[int]) -> list[Scaled]:
    """Play a fleet with each count of one kind, in order. Raises UserError where failures leave a run no end."""
    found: list[Scaled] = []
    work = None
    for count in sorted(set(counts)):
        of = fleet.with_count(kind, count)
        simulation = simulate(of)
        work = work or simulation.days.median * of.abstracts_per_second
        found.append(Scaled(count, simulation, work / of.abstracts_per_second))
    return found


def scaling(points: Sequence[Scaled], kind: str, title: str) -> Figure:
    """Draw days against devices, both in powers, with what lies between 5 and 95 % of the runs, and idle shares."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    counts, days = [p.count for p in points], [p.simulation.days for p in points]
    axes.fill_between(
        counts, [d.low for d in days], [d.high for d in days],
        color=_BLUE, alpha=0.2, linewidth=0, label="5 to 95 % of the runs",
    )  # fmt: skip
    axes.plot(counts, [d.median for d in days], "o-", color=_BLUE, label="median")
    axes.plot(
        counts, [p.perfect_days for p in points],
        color=_DARK, linewidth=1, linestyle="--", label=f"perfect scaling from {counts[0]} on",
    )  # fmt: skip
    for count, simulation in ((p.count, p.simulation) for p in points):
        place = (count, simulation.days.median)
        axes.annotate(f"{simulation.idle.median:.0%}", place, xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel=f"devices ({kind}); beside each point the idle share", ylabel="days")
    axes.set_xticks(counts, [f"{n:,}" for n in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
