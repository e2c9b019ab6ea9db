"""Draws what each device does during a simulated run."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sum_assets.simulation.fleet import Fleet
from sum_assets.simulation.simulator import Trial, device_numbers

# The palette of Okabe and Ito (2008); white is waiting.
_COLOURS = {
    "working": "#56b4e9", "starting": "#f0e442", "finishing": "#009e73", "lost": "#d55e00", "away": "#000000",
}  # fmt: skip


def gantt(fleet: Fleet, trial: Trial, title: str) -> Figure:
    """Draw a row for each device, from the first run to the last."""
    numbers = device_numbers(fleet)
    devices = sum(len(group) for group in numbers.values())
    height = 0.3 if devices <= 12 else 0.06
    figure = Figure(figsize=(8, 1.4 + height * max(devices, 4)), layout="constrained")
    axes = figure.subplots()
    unit, seconds = ("days", 86400) if trial.seconds > 2 * 86400 else ("hours", 3600)
    if trial.seconds < 2 * 3600:
        unit, seconds = "minutes", 60
    # Failures last, so that they show beside hundreds of runs; a line keeps the shortest visible.
    for kind, colour in _COLOURS.items():
        spans = [s for s in trial.spans if s.kind == kind and s.end > s.start]
        failed = kind in ("lost", "away")
        axes.barh(
            [s.device for s in spans],
            [(min(s.end, trial.seconds) - s.start) / seconds for s in spans],
            left=[s.start / seconds for s in spans],
            color=colour, height=0.8, linewidth=0.6 if failed else 0, edgecolor=colour if failed else "none",
        )  # fmt: skip
    axes.set(xlabel=unit, xlim=(0, trial.seconds / seconds), ylim=(devices - 0.4, -0.6))
    axes.set_yticks([(group[0] + group[-1]) / 2 for group in numbers.values()], list(numbers))
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    handles = [Patch(facecolor=colour, label=kind) for kind, colour in _COLOURS.items()]
    handles.append(Patch(facecolor="white", edgecolor="#999999", label="waiting"))
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure
