"""Builds the benchmark report from the measurements of a sweep."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from psycopg import Connection

from sum_assets.benchmark.confidence_interval import Noise, estimate, pooled_noise
from sum_assets.benchmark.corpus_lengths import Corpus
from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.projection import Tokens, project
from sum_assets.benchmark.quality_gate import Gate, Quality, compare, gate
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.run_sweep import CellMeasurement
from sum_assets.benchmark.sweep import BASELINE, REFERENCE
from sum_assets.database.benchmark_results import SampleSummary, summaries_of
from sum_assets.errors import UserError


def build_report(
    connection: Connection,
    measurements: Sequence[CellMeasurement],
    corpus: Corpus,
    price_per_hour: float | None = None,
) -> BenchmarkReport:
    """Return the report of a sweep's measurements, projected to a corpus. Raises UserError where there are none.

    `price_per_hour` is that of one device.
    """
    if not measurements:
        raise UserError("Nothing of the registered sweep is measured yet, with its sample. Run `sum-assets benchmark`.")
    by_name: dict[str, list[CellMeasurement]] = {}
    for measurement in measurements:
        by_name.setdefault(measurement.cell.name, []).append(measurement)
    working = {name: [m for m in cells if m.result.outcome == "ok"] for name, cells in by_name.items()}
    noise = pooled_noise([[_rate(m) for m in cells] for name, cells in working.items() if name != BASELINE])
    texts = {name: summaries_of(connection, cells[0].cell.key) for name, cells in working.items() if cells}
    tokens = _tokens(working, texts)
    presets = [_preset(name, cells, working, texts, tokens, corpus, noise) for name, cells in by_name.items()]
    presets = [replace(p, efficiency=_efficiency(p, presets), price_per_hour=price_per_hour) for p in presets]
    paces = _paces(working)
    # The fastest first; behind these what has no baseline beside it to compare with, and what has no rate.
    presets.sort(key=lambda p: (p.rate is None, -median(paces[p.preset].values()) if paces[p.preset] else math.inf))
    summarizer = measurements[0].cell.settings["summarizer"]
    facts = _facts(measurements, corpus, noise)
    warning = _warning(working.get(BASELINE, []))
    return BenchmarkReport(presets, corpus, paces, facts, summarizer, warning, texts)


def _preset(
    name: str,
    measurements: Sequence[CellMeasurement],
    working: dict[str, list[CellMeasurement]],
    texts: dict[str, dict[int, SampleSummary]],
    tokens: Tokens | None,
    corpus: Corpus,
    noise: Noise | None,
) -> PresetResult:
    failure = next((m.result for m in measurements if m.result.outcome != "ok"), None)
    cells = working[name] if failure is None else []
    quality, verdict = _judge(texts.get(name, {}), texts.get(REFERENCE, {})) if cells else (None, None)
    settings = measurements[0].cell.settings["preset"]
    projection = None
    if cells:
        settings = settings | {k: v for k, v in cells[0].result.resolved.items() if k in settings}
    if cells and tokens:
        summaries = texts[name].values()
        projection = project(
            [m.result for m in cells],
            corpus,
            tokens,
            padded_to=tokens.limit if settings["naive"] else None,
            noise=noise,
            summary_bytes=sum(len(s.summary.encode()) for s in summaries) / len(summaries),
        )
    speedups = _speedups(cells, working.get(BASELINE, [])) if name != BASELINE else {}
    return PresetResult(
        preset=name,
        outcome=failure.outcome if failure else "ok",
        detail=failure.detail if failure else "",
        results=[m.result for m in cells],
        rate=estimate([_rate(m) for m in cells]) if cells else None,
        efficiency=None,
        speedup=estimate(list(speedups.values())) if speedups else None,
        quality=quality,
        gate=verdict,
        projection=projection,
        settings=settings,
    )


def _efficiency(preset: PresetResult, presets: Sequence[PresetResult]) -> float | None:
    key = preset.settings_without_workers
    single = [p.rate.median for p in presets if p.rate and p.workers == 1 and p.settings_without_workers == key]
    if not preset.rate or preset.workers == 1 or not single:
        return None
    return preset.rate.median / max(single) / preset.workers


def _judge(
    candidate: dict[int, SampleSummary], reference: dict[int, SampleSummary]
) -> tuple[Quality | None, Gate | None]:
    quality = compare(candidate, reference)
    itself = compare({i: reference[i] for i in candidate if i in reference}, reference)
    return quality, gate(quality, itself) if quality and itself else None


def _paces(working: dict[str, list[CellMeasurement]]) -> dict[str, dict[int, float]]:
    """Return what ranks each preset, by replicate: its rate, or its speed-up where not all were measured in turn."""
    baseline = working.get(BASELINE, [])
    if not any(b.cell.paired_with for b in baseline):
        return {name: {m.cell.replicate: _rate(m) for m in cells} for name, cells in working.items()}
    paces = {name: _speedups(cells, baseline) for name, cells in working.items()}
    return paces | {BASELINE: {m.cell.replicate: 1.0 for m in baseline}}


def _speedups(cells: Sequence[CellMeasurement], baseline: Sequence[CellMeasurement]) -> dict[int, float]:
    """Return the ratio of rates by replicate, to the baseline paired with the preset or else to the common one."""
    speedups = {}
    for m in cells:
        of_replicate = [b for b in baseline if b.cell.replicate == m.cell.replicate]
        paired = [b for b in of_replicate if b.cell.paired_with == m.cell.name]
        if candidates := paired or [b for b in of_replicate if not b.cell.paired_with]:
            speedups[m.cell.replicate] = _rate(m) / _rate(candidates[0])
    return speedups


def _warning(baseline: Sequence[CellMeasurement]) -> str:
    """Say where the machine was faster for some presets than for others; nothing where all were measured in turn."""
    by_preset: dict[str | None, list[float]] = {}
    for b in baseline:
        by_preset.setdefault(b.cell.paired_with, []).append(_rate(b))
    rates = [median(rates) for rates in by_preset.values()]
    if len(rates) < 2 or max(rates) < 1.2 * min(rates):
        return ""
    return (
        f"Beside the presets, the naive loop made {min(rates):.3f} to {max(rates):.3f} abstracts/s: they were measured "
        "at different times. Compare their speed-ups; rates and days are those of each one's hour."
    )


def _tokens(working: dict[str, list[CellMeasurement]], texts: dict[str, dict[int, SampleSummary]]) -> Tokens | None:
    """Fit tokens by characters on the inputs of the first preset that worked on the whole sample."""
    longest = max(texts, key=lambda name: len(texts[name]), default=None)
    if longest is None:
        return None
    limit = working[longest][0].cell.settings["summarizer"]["max_input_tokens"]
    inputs = [s for s in texts[longest].values() if s.input_tokens]
    return Tokens.fit([len(s.abstract) for s in inputs], [s.input_tokens for s in inputs], limit) if inputs else None


def _facts(measurements: Sequence[CellMeasurement], corpus: Corpus, noise: Noise | None) -> dict[str, str]:
    """Return what a reader needs to judge the numbers."""
    cells = [m.cell for m in measurements]
    replicates = max(cell.replicate for cell in cells)
    sample = max(len(cell.ids) for cell in cells)
    baseline = next((len(cell.ids) for cell in cells if cell.name == BASELINE), 0)
    devices = dict.fromkeys(m.result.device_name for m in measurements if m.result.device_name)
    settings = cells[0].settings
    return {
        "corpus": f"{corpus.rows:,} abstracts in {corpus.ranges:,} ID ranges; {corpus.lengths_from}",
        "sample": f"{sample} abstracts of the corpus, the same for all, {baseline} of them for the baseline; "
        f"{replicates} replicates in turn",
        "model": f"{settings['summarizer']['model']}, at most {settings['summarizer']['max_input_tokens']} tokens in "
        f"and {settings['summarizer']['max_output_tokens']} out",
        "devices": ", ".join(devices) or "none",
        "noise from run to run": f"{noise.deviation:.1%} (standard deviation)" if noise else "not known: one replicate",
        "versions": ", ".join(f"{name} {v}" for name, v in settings["versions"].items()),
    }


def _rate(measurement: CellMeasurement) -> float:
    assert measurement.result.seconds is not None
    return measurement.result.abstracts / measurement.result.seconds
