"""The Gantt chart of a simulated run: what each device does, and when."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sum_assets.plot_style import BLACK, GRAY, GREEN, SKY, VERMILION, YELLOW, style_axes
from sum_assets.simulation.fleet import Fleet
from sum_assets.simulation.trial import Trial, device_numbers

# Waiting is white.
_COLORS = {"working": SKY, "starting": YELLOW, "finishing": GREEN, "lost": VERMILION, "away": BLACK}


def draw_gantt(fleet: Fleet, trial: Trial, title: str) -> Figure:
    """Draw a row for each device, from the first run to the last."""
    numbers = device_numbers(fleet)
    devices = sum(len(group) for group in numbers.values())
    height = 0.3 if devices <= 12 else 0.06
    figure = Figure(figsize=(8, 1.4 + height * max(devices, 4)), layout="constrained")
    axes = figure.subplots()
    unit, seconds = ("days", 86400) if trial.seconds > 2 * 86400 else ("hours", 3600)
    if trial.seconds < 2 * 3600:
        unit, seconds = "minutes", 60
    # Failures are drawn last and with an outline, so that they show among hundreds of runs.
    for kind, color in _COLORS.items():
        spans = [s for s in trial.spans if s.kind == kind and s.end > s.start]
        failed = kind in ("lost", "away")
        axes.barh(
            [s.device for s in spans],
            [(min(s.end, trial.seconds) - s.start) / seconds for s in spans],
            left=[s.start / seconds for s in spans],
            color=color, height=0.8, linewidth=0.6 if failed else 0, edgecolor=color if failed else "none",
        )  # fmt: skip
    axes.set(xlabel=unit, xlim=(0, trial.seconds / seconds), ylim=(devices - 0.4, -0.6))
    axes.set_yticks([(group[0] + group[-1]) / 2 for group in numbers.values()], list(numbers))
    style_axes(axes, title, fontsize=10)
    handles = [Patch(facecolor=color, label=kind) for kind, color in _COLORS.items()]
    handles.append(Patch(facecolor="white", edgecolor=GRAY, label="waiting"))
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure
