"""Draws a report: speed-ups, phases, batch sizes, workers, and speed against quality."""

import base64
import io
import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sum_assets.benchmark.report import PresetReport, Report

# The palette of Okabe and Ito (2008), which people with colour-blindness tell apart.
_PASSES, _FAILS, _UNKNOWN = "#0072b2", "#d55e00", "#999999"
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")


def figures(report: Report) -> dict[str, Figure]:
    """Return the plots that the report has data for, by name."""
    working = [p for p in report.presets if p.rate]
    drawn = {
        "speedups": _speedups([p for p in working if p.speedup]),
        "phases": _phases(working),
        "batch_sizes": _batches(working),
        "workers": _workers(working),
        "speed_and_quality": _pareto([p for p in working if p.quality]),
    }
    return {name: figure for name, figure in drawn.items() if figure}


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG element for an HTML page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", out.getvalue(), flags=re.DOTALL)


def as_markdown_image(figure: Figure) -> str:
    """Return a figure as a small picture inside Markdown: some 10 kB, for Dagster's event log keeps it."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=72, bbox_inches="tight", pil_kwargs={"optimize": True})
    return f"![plot](data:image/png;base64,{base64.b64encode(out.getvalue()).decode()})"


def _axes(rows: int, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 0.9 + 0.38 * max(rows, 3)))
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour(preset: PresetReport) -> str:
    return _UNKNOWN if preset.gate is None else _PASSES if preset.gate.passes else _FAILS


def _speedups(presets: list[PresetReport]) -> Figure | None:
    if not presets:
        return None
    figure, axes = _axes(len(presets), "Speed-up over the baseline, with 95 % intervals")
    for place, preset in enumerate(reversed(presets)):
        assert preset.speedup
        middle = preset.speedup.median
        axes.barh(place, middle, color=_colour(preset), height=0.6)
        if preset.speedup.low > 0:
            spread = [[middle - preset.speedup.low], [preset.speedup.high - middle]]
            axes.errorbar(middle, place, xerr=spread, color="#222222", capsize=3, linewidth=1.2)
    axes.set_yticks(range(len(presets)), [p.preset for p in reversed(presets)])
    axes.axvline(1, color="#222222", linewidth=1)
    axes.set_xlabel("times the baseline")
    _legend_of_gate(axes, presets)
    return figure


def _legend_of_gate(axes: Axes, presets: list[PresetReport]) -> None:
    names = {_PASSES: "passes the gate", _FAILS: "fails the gate", _UNKNOWN: "gate unknown"}
    for colour in dict.fromkeys(_colour(p) for p in presets):
        axes.plot([], [], "s", color=colour, label=names[colour])
    axes.legend(loc="lower right", frameon=False)


def _phases(presets: list[PresetReport]) -> Figure | None:
    if not presets:
        return None
    figure, axes = _axes(len(presets), "Seconds per abstract, the model loaded")
    left = [0.0] * len(presets)
    rows = list(reversed(presets))
    for phase, colour in zip(rows[0].seconds_per_abstract, _COLOURS, strict=False):
        widths = [p.seconds_per_abstract[phase] for p in rows]
        axes.barh(range(len(rows)), widths, left=left, color=colour, height=0.6, label=phase)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [p.preset for p in rows])
    axes.set_xlabel("seconds")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _batches(presets: list[PresetReport]) -> Figure | None:
    """Draw a line per set of settings that is there with several batch sizes."""
    lines: dict[str, list[PresetReport]] = {}
    for preset in presets:
        said = preset.settings
        if not said["naive"]:
            attention = f", {said['attention']}" if said["attention"] else ""  # else it is the engine's own
            workers = f", {preset.workers} workers" if preset.workers > 1 else ""
            name = f"{said['engine']}, {preset.number_format}{attention} on {preset.device}{workers}"
            lines.setdefault(name, []).append(preset)
    if all(len(line) < 2 for line in lines.values()):
        return None
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    figure.suptitle("Speed and memory against batch size", x=0.02, ha="left")
    speed, memory = figure.subplots(1, 2)
    for (name, line), colour in zip(lines.items(), _COLOURS, strict=False):
        line.sort(key=lambda p: int(p.settings["batch_size"]))
        sizes = [p.settings["batch_size"] for p in line]
        speed.plot(sizes, [p.rate.median for p in line if p.rate], "o-", color=colour, label=name)
        memory.plot(sizes, [(p.peak_mib or 0) / 1024 for p in line], "o-", color=colour)
    for axes, label in ((speed, "abstracts/s"), (memory, "peak memory, GiB")):
        axes.set(xlabel="batch size", ylabel=label, ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _workers(presets: list[PresetReport]) -> Figure | None:
    """Draw a line per set of settings that is there with several numbers of workers, and what would be even."""
    lines: dict[str, list[PresetReport]] = {}
    for preset in presets:
        if not preset.settings["naive"]:
            lines.setdefault(preset.but_for_workers, []).append(preset)
    lines = {key: line for key, line in lines.items() if len({p.workers for p in line}) > 1}
    if not lines:
        return None
    figure, axes = _axes(8, "Speed against workers")
    for line, colour in zip(lines.values(), _COLOURS, strict=False):
        rates: dict[int, float] = {}
        for preset in line:  # with several numbers of threads, the best
            assert preset.rate
            rates[preset.workers] = max(rates.get(preset.workers, 0), preset.rate.median)
        counts, said = sorted(rates), line[0].settings
        label = f"{said['engine']}, {line[0].number_format}, batch {said['batch_size']}"
        axes.plot(counts, [rates[n] for n in counts], "o-", color=colour, label=label)
        even = [rates[counts[0]] * n / counts[0] for n in counts]
        axes.plot(counts, even, color=colour, linewidth=1, linestyle=":")
    axes.set(xlabel="workers (dotted: each as fast as the first)", ylabel="abstracts/s", ylim=(0, None))
    axes.set_xticks(sorted({p.workers for line in lines.values() for p in line}))
    axes.legend(frameon=False)
    return figure


def _pareto(presets: list[PresetReport]) -> Figure | None:
    if not presets:
        return None
    figure, axes = _axes(8, "Speed against quality, with the Pareto front")
    front: list[tuple[float, float]] = []
    for preset in sorted(presets, key=lambda p: -p.rate.median if p.rate else 0):
        assert preset.rate
        assert preset.quality
        x, y = preset.rate.median, preset.quality.opening_rouge_l
        if not front or y > front[-1][1]:
            front.append((x, y))
        axes.plot(x, y, "o", color=_colour(preset), markersize=7)
        axes.annotate(preset.preset, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.plot(*zip(*front, strict=True), color="#222222", linewidth=1, linestyle="--", zorder=0)
    axes.set(xlabel="abstracts/s", ylabel="ROUGE-L of the first 32 words", ylim=(0, 1.08), xlim=(0, None))
    _legend_of_gate(axes, presets)
    return figure
