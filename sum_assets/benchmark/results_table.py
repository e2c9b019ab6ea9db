"""The tables that decide: all presets side by side, why the others lose, and what reference and winner wrote."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sum_assets.benchmark.confidence_interval import Estimate
from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.section import Section
from sum_assets.benchmark.sweep import REFERENCE
from sum_assets.benchmark.text_examples import shared_examples
from sum_assets.units import count, rounded

_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
#: The columns of settings. One in which all presets are equal is left out of the table, and named below it.
_SETTINGS: dict[str, Callable[[PresetResult], str]] = {
    "engine": lambda p: str(p.settings["engine"]),
    "prec.": lambda p: _SHORT.get(p.settings["precision"], str(p.settings["precision"])) if p.has_model else "",
    "quant": lambda p: str(p.settings["quantization"]) if p.has_model else "",
    "batch": lambda p: str(p.settings["batch_size"] or "auto") if p.has_model else "",
    "workers": lambda p: str(p.workers),
    "device": lambda p: p.device,
}
#: The columns of figures. One that is empty for all presets is left out.
_FIGURES: dict[str, Callable[[PresetResult], str]] = {
    "gate": lambda p: "" if p.gate is None else "pass" if p.gate.passes else "fail",
    "speed-up": lambda p: _with_interval(p.speedup, "x"),
    "per second": lambda p: _with_interval(p.rate),
    "days": lambda p: _amount(p.projection.days) if p.projection else "",
    "cost": lambda p: "" if p.cost is None else _amount(p.cost),
    "kWh": lambda p: "" if p.energy_kwh is None else _amount(p.energy_kwh),
    "limit": lambda p: "" if not p.share or p.share.value is None else f"{p.share.value:.1%}",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What a table may be wide on a page: how wide a character of a heading and of a cell is, and what is around each.

    A line of a cell ends at a space. With `breaks_words` it does at a hyphen before a letter, and headings break, too.
    """

    width: float
    heading: float = 1.0
    cell: float = 1.0
    around: float = 1.0
    breaks_words: bool = False


def results(report: BenchmarkReport) -> Section:
    """Return all presets with what decides, and their main settings."""
    settings = {name: [value(p) for p in report.presets] for name, value in _SETTINGS.items()}
    figures = {name: [value(p) for p in report.presets] for name, value in _FIGURES.items()}
    equal = {name: max(column) for name, column in settings.items() if len(set(column) - {""}) == 1}
    columns = {"preset": [p.preset for p in report.presets], "result": [_verdict(report, p) for p in report.presets]}
    columns |= {name: column for name, column in figures.items() if any(column)}
    columns |= {name: column for name, column in settings.items() if name not in equal}
    notes = [f"All presets: {', '.join(f'{name} {value}' for name, value in equal.items())}."] if equal else []
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Section("Results", list(columns), rows, "\n".join(notes + _notes(report)))


def in_width(section: Section, page: Page) -> list[Section]:
    """Return a table in parts that fit a page. Each begins with the first column."""
    first, *others = section.headings
    parts = [[first]]
    for heading in others:
        if sum(least_width(section, name, page) for name in [*parts[-1], heading]) > page.width and len(parts[-1]) > 1:
            parts.append([first])
        parts[-1].append(heading)
    return [section.of_columns(part) for part in parts]


def least_width(section: Section, heading: str, page: Page) -> float:
    """Return how narrow a column may be before words are cut."""
    place = section.headings.index(heading)
    pattern = r"\s+|(?<=-)(?=[a-z])" if page.breaks_words else r"\s+"
    words = [len(word) for row in section.rows for word in re.split(pattern, row[place])]
    title = max(map(len, heading.split())) if page.breaks_words else len(heading)
    return max(page.heading * title, page.cell * max(words, default=0)) + page.around


def _notes(report: BenchmarkReport) -> list[str]:
    """Return what a reader of the results must know."""
    notes = []
    for p in report.presets:
        if (
            p.has_model
            and p.results
            and (most := max(r.abstracts for r in p.results)) < (p.settings["batch_size"] or 0)
        ):
            notes.append(
                f"{p.preset}: the sample has {most} abstracts, so no batch was larger. Measure a batch of "
                f"{p.settings['batch_size']} with a sample of as many or more."
            )
    notes += [report.warning] if report.warning else []
    if any(p.rate and p.rate.low > 0 for p in report.presets):
        notes.append("In parentheses: 95 % intervals. A speed-up whose interval covers 1 may be chance.")
    else:
        notes.append("One replicate has no interval: the differences may be chance.")
    notes.append("Gate: whether the summaries are as good as in full precision. Per second: abstracts.")
    if projected := next((p.projection for p in report.presets if p.projection), None):
        notes.append(f"Days: to summarize {count(projected.rows)} abstracts without a break.")
    if price := next((p.price_per_hour for p in report.presets if p.cost is not None), None):
        notes.append(f"Cost: of the devices for these days, at {rounded(price)} for one device and hour.")
    if any(p.energy_kwh is not None for p in report.presets):
        notes.append("kWh: of the device alone for these days, at the mean power that was measured.")
    if any(p.share and p.share.value is not None for p in report.presets):
        notes.append("Limit: the share that was reached of what the device can do at most.")
    return notes + [
        f"{p.preset}: no share of the limit: {p.share.reason}" for p in report.presets if p.share and p.share.reason
    ]


def _verdict(report: BenchmarkReport, preset: PresetResult) -> str:
    """Return in a word or two why to take a preset, or why not."""
    if preset is report.winner:
        return "fastest"
    if preset.rate is None:
        return "cannot run" if preset.outcome == "unsupported" else preset.outcome.replace("_", " ")
    if preset.gate is None:
        return "not judged"
    if not preset.gate.passes:
        return "other texts"
    ratio = report.speed_beside_winner(preset)
    return "may be as fast" if preset.preset in report.ties else f"{ratio.median:.0%} as fast" if ratio else ""


def losers(report: BenchmarkReport) -> Section:
    """Return for each preset but the winner why it is not the one to use."""
    rows = [[p.preset, _reason(report, p)] for p in report.presets if p is not report.winner]
    return Section("Why not the others", ["preset", "reason"], rows)


def _reason(report: BenchmarkReport, preset: PresetResult) -> str:
    if preset.rate is None:
        return f"{preset.outcome.replace('_', ' ')}: {preset.detail}"
    if preset.gate is None:
        return "its texts are not judged, without a reference"
    if not preset.gate.passes:
        return f"the quality gate fails: {preset.gate.reason}"
    ratio = report.speed_beside_winner(preset)
    if ratio is None or report.winner is None:
        return "nothing compares its speed with the winner's"
    speed = f"{ratio.median:.0%} of the speed of {report.winner.preset}"
    if ratio.low > 0:
        speed += f" ({ratio.low:.0%} to {ratio.high:.0%})"
    return f"may be as fast: {speed}" if preset.preset in report.ties else f"slower: {speed}"


def summaries(report: BenchmarkReport) -> Section | None:
    """Return what reference and winner wrote about some abstracts, side by side."""
    names = [REFERENCE, report.winner.preset] if report.winner else []
    if len(set(names)) < 2 or not set(names) <= report.texts.keys():
        return None
    examples = shared_examples({name: report.texts[name] for name in names}, REFERENCE)
    rows = [[f"{e.abstract_id}: {e.abstract}", *(e.summaries.get(name, "") for name in names)] for e in examples]
    return Section("Summaries side by side", ["abstract", *names], rows)


def _amount(number: float) -> str:
    return rounded(number) if number >= 0.01 or not number else "<0.01"


def _with_interval(estimate: Estimate | None, unit: str = "") -> str:
    if estimate is None:
        return ""
    ends = f" ({rounded(estimate.low)} to {rounded(estimate.high)})" if estimate.low > 0 else ""
    return f"{rounded(estimate.median)}{unit}{ends}"
