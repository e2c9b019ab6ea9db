"""The plots of a benchmark report: speed-ups, phases, batch sizes, workers, and speed against quality."""

import base64
import io
import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.plot_style import BLUE, DARK, GRAY, PALETTE, VERMILION, style_axes

_PASSES, _FAILS, _UNKNOWN = BLUE, VERMILION, GRAY


def figures(report: BenchmarkReport) -> dict[str, Figure]:
    """Return the plots that the report has data for, by name."""
    working = [p for p in report.presets if p.rate]
    plots = {
        "speedups": _speedups([p for p in working if p.speedup]),
        "phases": _phases(working),
        "batch_sizes": _batch_sizes(working),
        "workers": _workers(working),
        "speed_and_quality": _speed_and_quality([p for p in working if p.quality]),
    }
    return {name: figure for name, figure in plots.items() if figure}


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG element for an HTML page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", out.getvalue(), flags=re.DOTALL)


def as_markdown_image(figure: Figure) -> str:
    """Return a figure as a small picture inside Markdown: some 10 kB, since Dagster's event log keeps it."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=72, bbox_inches="tight", pil_kwargs={"optimize": True})
    return f"![plot](data:image/png;base64,{base64.b64encode(out.getvalue()).decode()})"


def _axes(rows: int, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 0.9 + 0.38 * max(rows, 3)))
    axes = figure.subplots()
    style_axes(axes, title)
    return figure, axes


def _color(preset: PresetResult) -> str:
    return _UNKNOWN if preset.gate is None else _PASSES if preset.gate.passes else _FAILS


def _speedups(presets: list[PresetResult]) -> Figure | None:
    if not presets:
        return None
    figure, axes = _axes(len(presets), "Speed-up over the baseline, with 95 % intervals")
    for place, preset in enumerate(reversed(presets)):
        assert preset.speedup
        middle = preset.speedup.median
        axes.barh(place, middle, color=_color(preset), height=0.6)
        if preset.speedup.low > 0:
            spread = [[middle - preset.speedup.low], [preset.speedup.high - middle]]
            axes.errorbar(middle, place, xerr=spread, color=DARK, capsize=3, linewidth=1.2)
    axes.set_yticks(range(len(presets)), [p.preset for p in reversed(presets)])
    axes.axvline(1, color=DARK, linewidth=1)
    axes.set_xlabel("times the baseline")
    _legend_of_gate(axes, presets)
    return figure


def _legend_of_gate(axes: Axes, presets: list[PresetResult]) -> None:
    names = {_PASSES: "passes the gate", _FAILS: "fails the gate", _UNKNOWN: "gate unknown"}
    for color in dict.fromkeys(_color(p) for p in presets):
        axes.plot([], [], "s", color=color, label=names[color])
    axes.legend(loc="lower right", frameon=False)


def _phases(presets: list[PresetResult]) -> Figure | None:
    if not presets:
        return None
    figure, axes = _axes(len(presets), "Seconds per abstract, the model loaded")
    left = [0.0] * len(presets)
    rows = list(reversed(presets))
    for phase, color in zip(rows[0].seconds_per_abstract, PALETTE, strict=False):
        widths = [p.seconds_per_abstract[phase] for p in rows]
        axes.barh(range(len(rows)), widths, left=left, color=color, height=0.6, label=phase)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [p.preset for p in rows])
    axes.set_xlabel("seconds")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _batch_sizes(presets: list[PresetResult]) -> Figure | None:
    """Draw a line for each set of settings that was measured with several batch sizes."""
    lines: dict[str, list[PresetResult]] = {}
    for preset in presets:
        settings = preset.settings
        if not settings["naive"]:
            attention = f", {settings['attention']}" if settings["attention"] else ""  # else the engine has its own
            workers = f", {preset.workers} workers" if preset.workers > 1 else ""
            name = f"{settings['engine']}, {preset.number_format}{attention} on {preset.device}{workers}"
            lines.setdefault(name, []).append(preset)
    if all(len(line) < 2 for line in lines.values()):
        return None
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    figure.suptitle("Speed and memory against batch size", x=0.02, ha="left")
    speed, memory = figure.subplots(1, 2)
    for (name, line), color in zip(lines.items(), PALETTE, strict=False):
        line.sort(key=lambda p: int(p.settings["batch_size"]))
        sizes = [p.settings["batch_size"] for p in line]
        speed.plot(sizes, [p.rate.median for p in line if p.rate], "o-", color=color, label=name)
        memory.plot(sizes, [(p.peak_mib or 0) / 1024 for p in line], "o-", color=color)
    for axes, label in ((speed, "abstracts/s"), (memory, "peak memory, GiB")):
        axes.set(xlabel="batch size", ylabel=label, ylim=(0, None))
        style_axes(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _workers(presets: list[PresetResult]) -> Figure | None:
    """Draw a line for each set of settings that was measured with several numbers of workers, and linear scaling."""
    lines: dict[str, list[PresetResult]] = {}
    for preset in presets:
        if not preset.settings["naive"]:
            lines.setdefault(preset.settings_without_workers, []).append(preset)
    lines = {key: line for key, line in lines.items() if len({p.workers for p in line}) > 1}
    if not lines:
        return None
    figure, axes = _axes(8, "Speed against workers")
    for line, color in zip(lines.values(), PALETTE, strict=False):
        rates: dict[int, float] = {}
        for preset in line:  # with several numbers of threads, the best
            assert preset.rate
            rates[preset.workers] = max(rates.get(preset.workers, 0), preset.rate.median)
        counts, settings = sorted(rates), line[0].settings
        label = f"{settings['engine']}, {line[0].number_format}, batch {settings['batch_size']}"
        axes.plot(counts, [rates[n] for n in counts], "o-", color=color, label=label)
        linear = [rates[counts[0]] * n / counts[0] for n in counts]
        axes.plot(counts, linear, color=color, linewidth=1, linestyle=":")
    axes.set(xlabel="workers (dotted: linear scaling)", ylabel="abstracts/s", ylim=(0, None))
    axes.set_xticks(sorted({p.workers for line in lines.values() for p in line}))
    axes.legend(frameon=False)
    return figure


def _speed_and_quality(presets: list[PresetResult]) -> Figure | None:
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
        axes.plot(x, y, "o", color=_color(preset), markersize=7)
        axes.annotate(preset.preset, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.plot(*zip(*front, strict=True), color=DARK, linewidth=1, linestyle="--", zorder=0)
    axes.set(xlabel="abstracts/s", ylabel="ROUGE-L of the first 32 words", ylim=(0, 1.08), xlim=(0, None))
    _legend_of_gate(axes, presets)
    return figure
