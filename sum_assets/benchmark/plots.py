"""The plots of a benchmark report: speed-ups, phases, batch sizes, workers, and speed against quality."""

import base64
import io
import re
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.plot_style import BLUE, DARK, GRAY, PALETTE, VERMILION, style_axes

_PASSES, _FAILS, _UNKNOWN = BLUE, VERMILION, GRAY


def figures(report: BenchmarkReport) -> dict[str, Figure]:
    """Return the plots that the report has data for, by name."""
    working, left_out = drawn(report)
    plots = {
        "speedups": _speedups([p for p in working if p.speedup], left_out),
        "phases": _phases(working),
        "batch_sizes": _batch_sizes(working),
        "workers": _workers(working),
        "quality": _speed_and_quality([p for p in working if p.quality], left_out),
    }
    return {name: figure for name, figure in plots.items() if figure}


def drawn(report: BenchmarkReport) -> tuple[list[PresetResult], str]:
    """Return the presets that plots draw, and a sentence that names those left out.

    An engine without a model is thousands of times as fast, and would leave no room for the others.
    """
    working = [p for p in report.presets if p.rate]
    without = [f"{p.preset} ({p.speedup.median:,.0f}x)" if p.speedup else p.preset for p in working if not p.has_model]
    sentence = f"Not drawn, since it has no model: {', '.join(without)}" if without else ""
    return [p for p in working if p.has_model], sentence


def front(presets: Iterable[PresetResult]) -> list[PresetResult]:
    """Return the Pareto front of speed and quality among what passes the gate: nothing is better in both."""
    best: list[PresetResult] = []
    for preset in sorted((p for p in presets if p.recommendable), key=lambda p: -rate(p)):
        if not best or likeness(preset) > likeness(best[-1]):
            best.append(preset)
    return best


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG element for an HTML page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", out.getvalue(), flags=re.DOTALL)


def as_markdown_image(figure: Figure) -> str:
    """Return a figure as a picture inside Markdown: some 10 kB, since Dagster's event log keeps it."""
    drawn_in_full, out = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn_in_full, format="png", dpi=90, bbox_inches="tight")
    few_colors = Image.open(drawn_in_full).convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    few_colors.save(out, format="png", optimize=True)
    return f"![plot](data:image/png;base64,{base64.b64encode(out.getvalue()).decode()})"


def _axes(rows: int, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 0.9 + 0.38 * max(rows, 3)))
    axes = figure.subplots()
    style_axes(axes, title)
    return figure, axes


def preset_color(preset: PresetResult) -> str:
    """Return the color that says whether it passes the gate."""
    return _UNKNOWN if preset.gate is None else _PASSES if preset.gate.passes else _FAILS


def _speedups(presets: list[PresetResult], left_out: str) -> Figure | None:
    if not presets:
        return None
    figure, axes = _axes(len(presets), "Speed-up over the baseline, with 95 % intervals")
    for place, preset in enumerate(reversed(presets)):
        assert preset.speedup
        middle = preset.speedup.median
        axes.barh(place, middle, color=preset_color(preset), height=0.6)
        if preset.speedup.low > 0:
            spread = [[middle - preset.speedup.low], [preset.speedup.high - middle]]
            axes.errorbar(middle, place, xerr=spread, color=DARK, capsize=3, linewidth=1.2)
    axes.set_yticks(range(len(presets)), [p.preset for p in reversed(presets)])
    axes.axvline(1, color=DARK, linewidth=1)
    axes.set_xlabel("\n".join(filter(None, ["times the baseline", left_out])))
    _legend_of_gate(axes, presets)
    return figure


def _legend_of_gate(axes: Axes, presets: list[PresetResult]) -> None:
    names = {_PASSES: "passes the gate", _FAILS: "fails the gate", _UNKNOWN: "gate unknown"}
    for color in dict.fromkeys(preset_color(p) for p in presets):
        axes.plot([], [], "s", color=color, label=names[color])
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    below = -1.1 / figure.get_figheight()  # below the label of the axis, which may have two lines
    axes.legend(loc="upper left", bbox_to_anchor=(0, below), ncols=3, frameon=False)


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


def _speed_and_quality(presets: list[PresetResult], left_out: str) -> Figure | None:
    if not presets:
        return None
    figure, axes = _axes(max(9, len(presets) // 2), "Speed against quality; dashed: the Pareto front of what passes")
    for preset in presets:
        axes.plot(rate(preset), likeness(preset), "o", color=preset_color(preset), markersize=7)
    best = front(presets)
    axes.plot([rate(p) for p in best], [likeness(p) for p in best], "--", color=DARK, linewidth=1, zorder=0)
    bottom = min(likeness(p) for p in presets)
    axes.set(ylabel="ROUGE-L of the first 32 words", ylim=(max(bottom - 0.1, -0.04), 1.04), xlim=(0, None))
    axes.set_xlabel("\n".join(filter(None, ["abstracts/s", left_out])))
    _label_beside(axes, presets)
    _legend_of_gate(axes, presets)
    return figure


def rate(preset: PresetResult) -> float:
    """Return abstracts per second."""
    return preset.rate.median if preset.rate else 0.0


def likeness(preset: PresetResult) -> float:
    """Return how like the texts are to those of full precision: ROUGE-L of the first 32 words."""
    return preset.quality.opening_rouge_l if preset.quality else 0.0


def _label_beside(axes: Axes, presets: list[PresetResult]) -> None:
    """Name each point at the right, one name below the other, with a line to the point."""
    bottom, top = axes.get_ylim()
    ordered = sorted(presets, key=lambda p: (-likeness(p), -rate(p)))
    wanted = [(likeness(p) - bottom) / (top - bottom) for p in ordered]
    for preset, place in zip(ordered, spread_out(wanted, 0.9 / max(len(presets), 16)), strict=True):
        axes.annotate(
            preset.preset,
            (rate(preset), likeness(preset)),
            xytext=(1.02, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": GRAY, "linewidth": 0.6},
        )


def spread_out(places: Sequence[float], distance: float) -> list[float]:
    """Return places between 0 and 1 at least so far apart, near to those given. The highest comes first."""
    moved: list[float] = []
    for place in places:
        moved.append(min(place, moved[-1] - distance) if moved else min(place, 1.0))
    lowest = 0.0
    for index in reversed(range(len(moved))):
        moved[index] = max(moved[index], lowest)
        lowest = moved[index] + distance
    return moved
