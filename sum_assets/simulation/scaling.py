"""Simulates a full run with several numbers of devices, to show what more devices save."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from sum_assets.plot_style import BLUE, DARK, LIGHT, style_axes
from sum_assets.simulation.fleet import Fleet
from sum_assets.simulation.monte_carlo import Simulation, simulate


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """A full run with `count` devices of a kind.

    `perfect_days` are the days of the smallest count, divided by how much faster all devices are together.
    """

    count: int
    simulation: Simulation
    perfect_days: float

    def as_json(self) -> dict[str, Any]:
        """Return the count and the simulation's numbers."""
        return {"devices": self.count, "perfect_days": self.perfect_days} | self.simulation.as_json()


def simulate_counts(fleet: Fleet, kind: str, counts: Sequence[int]) -> list[ScalingPoint]:
    """Simulate a fleet with each count of one kind, in order. Raises UserError if failures keep a run from ending."""
    points: list[ScalingPoint] = []
    work = None
    for count in sorted(set(counts)):
        changed = fleet.with_count(kind, count)
        simulation = simulate(changed)
        work = work or simulation.days.median * changed.abstracts_per_second
        points.append(ScalingPoint(count, simulation, work / changed.abstracts_per_second))
    return points


def draw_scaling(points: Sequence[ScalingPoint], kind: str, title: str) -> Figure:
    """Draw days against devices on logarithmic axes, with the 5th to 95th percentile and idle shares."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    counts, days = [p.count for p in points], [p.simulation.days for p in points]
    axes.fill_between(
        counts, [d.low for d in days], [d.high for d in days],
        color=BLUE, alpha=0.2, linewidth=0, label="5 to 95 % of the runs",
    )  # fmt: skip
    axes.plot(counts, [d.median for d in days], "o-", color=BLUE, label="median")
    axes.plot(
        counts, [p.perfect_days for p in points],
        color=DARK, linewidth=1, linestyle="--", label=f"perfect scaling from {counts[0]} on",
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
    axes.grid(axis="y", color=LIGHT, linewidth=0.6)
    style_axes(axes, title, fontsize=10)
    axes.legend(frameon=False)
    return figure
