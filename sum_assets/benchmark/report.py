"""Puts the presets of a sweep side by side: speed, quality, days, and the one to take."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from psycopg import Connection

from sum_assets.benchmark.cell import CellResult, Outcome
from sum_assets.benchmark.projection import ROWS_PER_RANGE, Corpus, Projection, Tokens, mixed, project
from sum_assets.benchmark.quality import Gate, Quality, compare, gate
from sum_assets.benchmark.run import Measured
from sum_assets.benchmark.statistics import Estimate, Noise, estimate, paired_ratio, pooled_noise
from sum_assets.benchmark.sweep import BASELINE, REFERENCE
from sum_assets.database.benchmark_results import Written, summaries_of
from sum_assets.database.profile import recorded_lengths, source_lengths
from sum_assets.database.source import count_source
from sum_assets.errors import UserError
from sum_assets.summarizer import GpuSettings
from sum_assets.units import count, duration


@dataclass(frozen=True, slots=True)
class PresetReport:
    """One preset over its replicates.

    `rate` is in abstracts per second, the model loaded; `speedup` against the baseline of the same replicates.
    `quality` is that of its first replicate against full precision. `results` are the replicates that worked.
    `efficiency` is the rate over that of the fastest preset with one worker and the same settings otherwise, divided
    by the workers. What cannot be had is None.
    """

    preset: str
    outcome: Outcome
    detail: str
    results: list[CellResult]
    rate: Estimate | None
    efficiency: float | None
    speedup: Estimate | None
    quality: Quality | None
    gate: Gate | None
    projection: Projection | None
    settings: dict[str, Any]

    @property
    def undecided(self) -> bool:
        """Whether the speed-up's interval covers 1."""
        return self.speedup is not None and self.speedup.undecided

    @property
    def recommendable(self) -> bool:
        """Whether it works and does not hurt the summaries."""
        return self.rate is not None and self.gate is not None and self.gate.passes

    @property
    def peak_mib(self) -> int | None:
        """Memory at its largest: the device's where it tells, else the process's."""
        peaks = [r.peak_device_bytes or r.peak_process_bytes or 0 for r in self.results]
        return max(peaks) // 2**20 if peaks else None

    def mean(self, field: str) -> float | None:
        """Return the mean of a field over the replicates that have it."""
        values = [value for r in self.results if (value := getattr(r, field)) is not None]
        return sum(values) / len(values) if values else None

    @property
    def seconds_per_abstract(self) -> dict[str, float]:
        """Seconds of each phase per abstract, the model loaded."""
        total = sum(r.abstracts for r in self.results)
        before = ("load_model", "warm_up")
        phases = [p for p in (self.results[0].phases if self.results else ()) if p not in before]
        return {phase: sum(r.phases[phase] for r in self.results) / total for phase in phases}

    @property
    def number_format(self) -> str:
        """The quantization, or without one the precision."""
        return str(self.settings["precision" if self.settings["quantization"] == "none" else "quantization"])

    def description(self) -> str:
        """Return its name with what stands behind it."""
        said = self.settings
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return f"{self.preset} ({self.number_format}, batch {said['batch_size']} on {self.device}{workers})"

    @property
    def device(self) -> str:
        """The device, or all of them."""
        return ", ".join(self.settings["devices"] or [self.settings["device"]])

    @property
    def workers(self) -> int:
        """How many workers it had in all."""
        return max(len(self.settings["devices"]), 1) * int(self.settings["workers_per_device"])

    @property
    def but_for_workers(self) -> str:
        """What it has in common with presets that differ in the number of workers alone, and in their threads."""
        places = ("device", "devices", "workers_per_device", "threads_per_worker")
        return json.dumps({key: value for key, value in self.settings.items() if key not in places})

    def sentence(self) -> str:
        """Return what a person can repeat of it."""
        if self.rate is None:
            return f"{self.preset}: {self.outcome}. {self.detail}"
        if self.speedup:
            verdict = ", undecided" if self.undecided else ""
            said = f"{self.speedup.median:.1f}x the baseline ({interval(self.speedup)}{verdict})"
        else:
            said = f"{self.rate.median:.3g} abstracts/s"
        if self.gate:
            said += ", passes the gate" if self.gate.passes else ", fails the gate"
        if self.projection:
            said += f", {duration(self.projection.days)} for {count(self.projection.rows)} abstracts"
        return f"{self.description()}: {said}"

    def as_json(self) -> dict[str, Any]:
        """Return plain numbers; an interval without an end is null."""
        rate, speedup, projection = self.rate, self.speedup, self.projection
        return {
            "preset": self.preset,
            "outcome": self.outcome,
            "detail": self.detail,
            "replicates": len(self.results),
            "abstracts_per_second": rate.median if rate else None,
            "workers": self.workers,
            "parallel_efficiency": self.efficiency,
            "abstracts_per_second_p5": rate.p5 if rate else None,
            "abstracts_per_second_p95": rate.p95 if rate else None,
            "abstracts_per_second_low": _finite(rate.low) if rate else None,
            "abstracts_per_second_high": _finite(rate.high) if rate else None,
            "speedup": speedup.median if speedup else None,
            "speedup_low": _finite(speedup.low) if speedup else None,
            "speedup_high": _finite(speedup.high) if speedup else None,
            "undecided": self.undecided,
            "gate": None if self.gate is None else "passes" if self.gate.passes else "fails",
            "gate_reason": self.gate.reason if self.gate else "",
            "quality": self.quality.as_json() if self.quality else None,
            "rows": projection.rows if projection else None,
            "days": projection.days if projection else None,
            "days_low": projection.low / 86400 if projection and projection.low else None,
            "days_high": projection.high / 86400 if projection and projection.high else None,
            "seconds_by_phase": projection.phases if projection else None,
            "summary_bytes": projection.summary_bytes if projection else None,
            "event_log_bytes": projection.event_log_bytes if projection else None,
            "peak_mib": self.peak_mib,
            "device_watts": self.mean("device_watts"),
            "device_utilization": self.mean("device_utilization"),
            "settings": self.settings,
        }


def interval(found: Estimate) -> str:
    """Return the ends of a speed-up's interval."""
    return f"{found.low:.1f} to {found.high:.1f}" if math.isfinite(found.high) else "one replicate"


def _finite(end: float) -> float | None:
    return end if 0 < end < math.inf else None


@dataclass(frozen=True)
class Report:
    """All presets, the fastest first, those without a rate last, and what they were measured with."""

    presets: list[PresetReport]
    corpus: Corpus
    rates: dict[str, dict[int, float]]
    facts: dict[str, str]

    @cached_property
    def winner(self) -> PresetReport | None:
        """The fastest preset that passes the gate."""
        return next((p for p in self.presets if p.recommendable), None)

    @cached_property
    def level(self) -> list[str]:
        """The presets that pass the gate and that the winner's lead over is undecided."""
        if self.winner is None:
            return []
        best = self.rates[self.winner.preset]
        found = []
        for other in self.presets:
            own = self.rates.get(other.preset, {})
            both = sorted(best.keys() & own.keys())
            if not other.recommendable or other is self.winner or len(both) < 2:
                continue
            if paired_ratio([best[r] for r in both], [own[r] for r in both]).undecided:
                found.append(other.preset)
        return found

    @property
    def sentence(self) -> str:
        """What a person can repeat."""
        if self.winner is None:
            full = next((p for p in self.presets if p.preset == REFERENCE), None)
            if full is None or full.rate is None:
                reason = full.detail if full else "not measured"
                return f"No preset can be recommended without {REFERENCE}, full precision, to judge by: {reason}."
            return "No preset works and passes the gate."
        level = f" Not told apart from it: {', '.join(self.level)}." if self.level else ""
        return f"{self.winner.sentence()}.{level}"

    def only(self, names: Sequence[str]) -> "Report":
        """Return the report of some presets. Raises UserError where one was not measured."""
        unknown = set(names) - {p.preset for p in self.presets}
        if unknown:
            measured = ", ".join(p.preset for p in self.presets)
            raise UserError(f"{', '.join(sorted(unknown))} is not measured. There is: {measured}.")
        return replace(self, presets=[p for p in self.presets if p.preset in names])

    def differences(self) -> dict[str, list[Any]]:
        """Return the settings in which the presets differ, each with its value in every preset."""
        keys = dict.fromkeys(key for p in self.presets for key in p.settings)
        values = {key: [p.settings.get(key) for p in self.presets] for key in keys}
        return {key: found for key, found in values.items() if any(value != found[0] for value in found)}

    def run_configuration(self) -> dict[str, Any]:
        """Return the run configuration of `summaries` that the winner stands for."""
        return run_configuration(self.winner) if self.winner else {}


def run_configuration(preset: PresetReport) -> dict[str, Any]:
    """Return the run configuration that a preset stands for, without what it leaves at its default."""
    fields = GpuSettings.model_fields
    chosen = {k: v for k, v in preset.settings.items() if k in fields and v != fields[k].default}
    return {"resources": {"gpu": {"config": chosen}}}


def corpus_of(connection: Connection, ranges: int) -> Corpus:
    """Return the corpus with its lengths, as `abstracts` recorded them where it has seen all rows, else as read now.

    `ranges` is the number of ID ranges that it is cut into; 0 takes 10,000 abstracts each.
    """
    rows = count_source(connection)
    profiles = recorded_lengths(connection)
    seen = sum(p.rows for p in profiles)
    lengths_from = f"lengths recorded by `abstracts` in {len(profiles):,} ID ranges"
    if not 0.99 < seen / max(rows, 1) < 1.01:
        profiles = [source_lengths(connection)]
        lengths_from = f"lengths read from the source (`abstracts` has recorded {seen:,} of {rows:,})"
    if not rows:
        raise UserError("The source has no abstracts.")
    return Corpus(rows, mixed(profiles), ranges or math.ceil(rows / ROWS_PER_RANGE), lengths_from)


def report(connection: Connection, measured: Sequence[Measured], corpus: Corpus) -> Report:
    """Return what the cells of a sweep say. Raises UserError where there are none."""
    if not measured:
        raise UserError("Nothing of the registered sweep is measured yet. Run `sum-assets benchmark`.")
    names = list(dict.fromkeys(m.cell.name for m in measured))
    good = {name: [m for m in measured if m.cell.name == name and m.result.outcome == "ok"] for name in names}
    noise = pooled_noise([[_rate(m) for m in good[name]] for name in names if name != BASELINE])
    texts = {name: summaries_of(connection, cells[0].cell.key) for name, cells in good.items() if cells}
    tokens = _tokens(good, texts)
    presets = [
        _preset(name, [m for m in measured if m.cell.name == name], good, texts, tokens, corpus, noise)
        for name in names
    ]
    presets = [replace(p, efficiency=_efficiency(p, presets)) for p in presets]
    presets.sort(key=lambda p: -p.rate.median if p.rate else math.inf)
    rates = {name: {m.cell.replicate: _rate(m) for m in cells} for name, cells in good.items()}
    return Report(presets, corpus, rates, _facts(measured, corpus, noise))


def _preset(
    name: str,
    own: Sequence[Measured],
    good: dict[str, list[Measured]],
    texts: dict[str, dict[int, Written]],
    tokens: Tokens | None,
    corpus: Corpus,
    noise: Noise | None,
) -> PresetReport:
    bad = next((m.result for m in own if m.result.outcome != "ok"), None)
    works = good[name] if bad is None else []
    quality, verdict = _judge(texts.get(name, {}), texts.get(REFERENCE, {})) if works else (None, None)
    settings = own[0].cell.settings["preset"]
    projection = None
    if works:
        settings = settings | {k: v for k, v in works[0].result.resolved.items() if k in settings}
    if works and tokens:
        written = texts[name].values()
        projection = project(
            [m.result for m in works],
            corpus,
            tokens,
            padded_to=tokens.limit if settings["naive"] else None,
            noise=noise,
            summary_bytes=sum(len(w.summary.encode()) for w in written) / len(written),
        )
    return PresetReport(
        preset=name,
        outcome=bad.outcome if bad else "ok",
        detail=bad.detail if bad else "",
        results=[m.result for m in works],
        rate=estimate([_rate(m) for m in works]) if works else None,
        efficiency=None,
        speedup=_speedup(works, good.get(BASELINE, [])) if name != BASELINE else None,
        quality=quality,
        gate=verdict,
        projection=projection,
        settings=settings,
    )


def _efficiency(preset: PresetReport, presets: Sequence[PresetReport]) -> float | None:
    alone = [
        p.rate.median for p in presets if p.rate and p.workers == 1 and p.but_for_workers == preset.but_for_workers
    ]
    if not preset.rate or preset.workers == 1 or not alone:
        return None
    return preset.rate.median / max(alone) / preset.workers


def _judge(own: dict[int, Written], reference: dict[int, Written]) -> tuple[Quality | None, Gate | None]:
    found = compare(own, reference)
    itself = compare({i: reference[i] for i in own if i in reference}, reference)
    return found, gate(found, itself) if found and itself else None


def _speedup(works: Sequence[Measured], baseline: Sequence[Measured]) -> Estimate | None:
    """Return the ratio by replicate: to the baseline beside the preset where there was one, else to that of all."""
    pairs = []
    for m in works:
        of_replicate = [b for b in baseline if b.cell.replicate == m.cell.replicate]
        beside = [b for b in of_replicate if b.cell.beside == m.cell.name]
        if found := beside or [b for b in of_replicate if not b.cell.beside]:
            pairs.append((_rate(m), _rate(found[0])))
    return paired_ratio([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def _tokens(good: dict[str, list[Measured]], texts: dict[str, dict[int, Written]]) -> Tokens | None:
    """Fit tokens by characters on what the first preset that worked on the whole sample has read."""
    longest = max(texts, key=lambda name: len(texts[name]), default=None)
    if longest is None:
        return None
    limit = good[longest][0].cell.settings["summarizer"]["max_input_tokens"]
    read = [w for w in texts[longest].values() if w.input_tokens]
    return Tokens.fit([len(w.abstract) for w in read], [w.input_tokens for w in read], limit) if read else None


def _facts(measured: Sequence[Measured], corpus: Corpus, noise: Noise | None) -> dict[str, str]:
    """Return what a reader needs to judge the numbers."""
    cells = [m.cell for m in measured]
    replicates = max(cell.replicate for cell in cells)
    sample = max(len(cell.ids) for cell in cells)
    baseline = next((len(cell.ids) for cell in cells if cell.name == BASELINE), 0)
    devices = dict.fromkeys(m.result.device_name for m in measured if m.result.device_name)
    settings = cells[0].settings
    return {
        "corpus": f"{corpus.rows:,} abstracts in {corpus.runs:,} runs; {corpus.lengths_from}",
        "sample": f"{sample} abstracts of the corpus, the same for all, {baseline} of them for the baseline; "
        f"{replicates} replicates in turn",
        "model": f"{settings['summarizer']['model']}, at most {settings['summarizer']['max_input_tokens']} tokens in "
        f"and {settings['summarizer']['max_output_tokens']} out",
        "devices": ", ".join(devices) or "none",
        "noise from run to run": f"{noise.deviation:.1%} (standard deviation)" if noise else "not known: one replicate",
        "versions": ", ".join(f"{name} {v}" for name, v in settings["versions"].items()),
    }


def _rate(measured: Measured) -> float:
    assert measured.result.seconds is not None
    return measured.result.abstracts / measured.result.seconds
