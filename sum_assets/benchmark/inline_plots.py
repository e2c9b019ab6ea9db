"""Plots of so few characters that Dagster's UI shows them without a click: SVG inside Markdown."""

import html
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

from sum_assets.benchmark.plots import drawn, front, likeness, preset_color, rate, spread_out
from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.plot_style import DARK, GRAY

#: Markdown of as many characters or more is behind a link.
LIMIT = 1000
_WIDTH, _LINE, _CHARACTER = 450, 17, 7.3  # pixels: of the picture, of a line of text, and of a character
_LONGEST_NAME = 22
_UNQUOTED = " '=/:,;()"


def inline_plots(report: BenchmarkReport) -> dict[str, str]:
    """Return the plots by name, as Markdown, each with as many presets as fit: the fastest, and the Pareto front."""
    presets, left_out = drawn(report)
    judged = [p for p in presets if p.quality]
    best = front(judged)
    plots = {
        "speedups": _fitting(_speedups, [p for p in presets if p.speedup], left_out),
        "quality": _fitting(_speed_and_quality, best + [p for p in judged if p not in best], left_out),
    }
    return {name: plot for name, plot in plots.items() if plot}


def _fitting(draw: Callable[[Sequence[PresetResult]], str], presets: Sequence[PresetResult], left_out: str) -> str:
    for count in range(len(presets), 0, -1):
        notes = [left_out] if left_out else []
        if count < len(presets):
            notes.insert(0, f"{count} of {len(presets)} presets")
        markdown = _as_markdown(draw(presets[:count]), ". ".join(notes))
        if len(markdown) < LIMIT:
            return markdown
    return ""


def _as_markdown(svg: str, note: str) -> str:
    # Dagster's UI takes no SVG but as a picture. In <> an address may have spaces, which take one character then.
    picture = f"![plot](<data:image/svg+xml,{quote(svg, safe=_UNQUOTED)}>)"
    return f"{picture}\n\n{note}" if note else picture


def _speedups(presets: Sequence[PresetResult]) -> str:
    medians = [p.speedup.median if p.speedup else 0.0 for p in presets]
    labels = [f"{_name(p)} {median:.1f}x" for p, median in zip(presets, medians, strict=True)]
    left = round(_CHARACTER * max(map(len, labels))) + 6
    longest = max(min(p.speedup.high, 1.2 * max(medians)) if p.speedup else 0.0 for p in presets)
    scale = (_WIDTH - left - 12) / longest
    bars: dict[str, str] = {}
    spreads, texts = "", ""
    for row, (preset, median, label) in enumerate(zip(presets, medians, labels, strict=True), 2):
        y = _LINE * row - 4
        bars[preset_color(preset)] = bars.get(preset_color(preset), "") + f"M6 {y}h{median * scale:.0f}"
        texts += _text(label, y + 4)
        if preset.speedup and preset.speedup.low > 0:
            low, high = (6 + scale * min(end, longest) for end in (preset.speedup.low, preset.speedup.high))
            spreads += f"M{low:.0f} {y}h{high - low:.0f}"
    lines = f"M{6 + scale:.0f} {_LINE + 2}v{_LINE * len(presets)}"
    paths = "".join(_path(color, 11, shape) for color, shape in bars.items())
    title = _text("times the baseline (line: 1)" + _legend(presets), 12, _WIDTH - left - 6)
    body = title + texts + paths + _path(DARK, 1, lines + spreads)
    return _svg(left, _LINE * (len(presets) + 1) + 6, "text-anchor='end'", body)


def _speed_and_quality(presets: Sequence[PresetResult]) -> str:
    right = round(_CHARACTER * max(len(_name(p)) for p in presets)) + 4
    left, height = _WIDTH - right, max(_LINE * len(presets), 120)
    fastest, lowest = max(map(rate, presets)), min(min(map(likeness, presets)), 0.9)
    ordered = sorted(presets, key=lambda p: (-likeness(p), -rate(p)))

    def x(preset: PresetResult) -> float:
        return rate(preset) / fastest * (left - 30) - left + 6

    def y(share: float) -> float:
        return _LINE + 10 + (1 - share) * (height - 12)

    def share(preset: PresetResult) -> float:
        return (likeness(preset) - lowest) / (1 - lowest)

    dots: dict[str, str] = {}
    links, texts = "", ""
    places = spread_out([share(p) for p in ordered], _LINE / (height - 12))
    for preset, place in zip(ordered, places, strict=True):
        point = f"{x(preset):.0f} {y(share(preset)):.0f}"
        dots[preset_color(preset)] = dots.get(preset_color(preset), "") + f"M{point}h0"
        links += f"M{point}L-3 {y(place):.0f}"
        texts += _text(_name(preset), round(y(place)) + 4)
    best = "L".join(f"{x(p):.0f} {y(share(p)):.0f}" for p in front(presets)) or "0 0"
    axes = f"M{4 - left} {_LINE + 4}V{_LINE + height + 8}H-22M{best}"
    shapes = _path(GRAY, 0.5, links) + _path(DARK, 1, axes, " fill='none'")
    shapes += "".join(_path(color, 8, shape) for color, shape in dots.items())
    title = f"up: ROUGE-L from {lowest:.2f}; right: abstracts/s{_legend(presets)}"
    return _svg(left, _LINE + height + 10, "stroke-linecap='round'", _text(title, 12, -left + 4) + shapes + texts)


def _legend(presets: Iterable[PresetResult]) -> str:
    return "; orange: fails" if any(p.gate and not p.gate.passes for p in presets) else ""


def _name(preset: PresetResult) -> str:
    name = preset.preset
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 2]}.."


def _svg(left: int, height: int, attributes: str, body: str) -> str:
    """Return a picture whose horizontal coordinate is 0 so many pixels from its left edge."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='-{left} 0 {_WIDTH} {height}' width='{_WIDTH}' {attributes} "
        f"style='font:12px monospace;background:white'>{body}</svg>"
    )


def _text(text: str, y: int, x: int | None = None) -> str:
    place = "" if x is None else f" x='{x}'"
    return f"<text{place} y='{y}'>{html.escape(text)}</text>"


def _path(color: str, width: float, shape: str, attributes: str = "") -> str:
    return f"<path stroke='{color}' stroke-width='{width}'{attributes} d='{shape}'/>"
