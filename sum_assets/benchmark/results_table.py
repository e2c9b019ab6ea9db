"""The tables that decide: all presets side by side, why the others lose, and what reference and winner wrote."""

from collections.abc import Callable

from sum_assets.benchmark.confidence_interval import Estimate
from sum_assets.benchmark.preset_result import PresetResult, interval
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.section import Section
from sum_assets.benchmark.sweep import REFERENCE
from sum_assets.benchmark.text_examples import shared_examples
from sum_assets.units import count, three_digits

#: The columns of settings. One in which all presets are equal is left out of the table, and named below it.
_SETTINGS: dict[str, Callable[[PresetResult], str]] = {
    "engine": lambda p: str(p.settings["engine"]),
    "precision": lambda p: _SHORT.get(p.settings["precision"], str(p.settings["precision"])),
    "quant.": lambda p: str(p.settings["quantization"]),
    "batch": lambda p: str(p.settings["batch_size"]),
    "workers": lambda p: str(p.workers),
    "device": lambda p: p.device,
}
_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
#: The columns of figures. One that is empty for all presets is left out.
_FIGURES: dict[str, Callable[[PresetResult], str]] = {
    "abstracts/s": lambda p: _with_interval(p.rate) if p.rate else "",
    "speed-up": lambda p: _speedup(p),
    "limit": lambda p: "" if not p.share or p.share.value is None else f"{p.share.value:.1%}",
    "days": lambda p: three_digits(p.projection.days) if p.projection else "",
    "cost": lambda p: "" if p.cost is None else three_digits(p.cost),
    "kWh": lambda p: "" if p.energy_kwh is None else three_digits(p.energy_kwh),
    "quality": lambda p: "" if p.gate is None else "passes" if p.gate.passes else "fails",
}


def results(report: BenchmarkReport) -> Section:
    """Return what decides, beside the main settings."""
    columns = {"preset": [p.preset for p in report.presets]}
    settings = {name: [value(p) for p in report.presets] for name, value in _SETTINGS.items()}
    figures = {name: [value(p) for p in report.presets] for name, value in _FIGURES.items()}
    columns |= {name: column for name, column in settings.items() if len(set(column)) > 1}
    columns |= {name: column for name, column in figures.items() if any(column)}
    columns["result"] = [_verdict(report, p) for p in report.presets]
    equal = {name: column[0] for name, column in settings.items() if len(set(column)) == 1}
    notes = _notes(report)
    if equal:
        notes.insert(0, f"All presets: {', '.join(f'{name} {value}' for name, value in equal.items())}.")
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Section("Results", list(columns), rows, "\n".join(notes))


def _notes(report: BenchmarkReport) -> list[str]:
    """Return what a reader of the results must know."""
    notes = []
    for p in report.presets:
        if p.results and (most := max(r.abstracts for r in p.results)) < p.settings["batch_size"]:
            notes.append(
                f"{p.preset}: the sample has {most} abstracts, so no batch was larger. Measure a batch of "
                f"{p.settings['batch_size']} with a sample of as many or more."
            )
    notes += [report.warning] if report.warning else []
    notes.append("In parentheses: 95 % intervals. Quality: whether the summaries are as good as in full precision.")
    if projected := next((p.projection for p in report.presets if p.projection), None):
        notes.append(f"Days: to summarize {count(projected.rows)} abstracts without a break.")
    if price := next((p.price_per_hour for p in report.presets if p.cost is not None), None):
        notes.append(f"Cost: of the devices for these days, at {three_digits(price)} for one device and hour.")
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
        return preset.outcome.replace("_", " ")
    if preset.gate is None:
        return "not judged"
    if not preset.gate.passes:
        return "other texts"
    ratio = report.speed_beside_winner(preset)
    return "as fast" if preset.preset in report.ties else f"{ratio.median:.0%} as fast" if ratio else ""


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


def _speedup(preset: PresetResult) -> str:
    speedup = preset.speedup
    if speedup is None:
        return ""
    return f"{'undecided' if preset.undecided else f'{speedup.median:.1f}x'} ({interval(speedup)})"


def _with_interval(estimate: Estimate) -> str:
    ends = f" ({three_digits(estimate.low)} to {three_digits(estimate.high)})" if estimate.low > 0 else ""
    return f"{three_digits(estimate.median)}{ends}"
