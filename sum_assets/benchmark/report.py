"""Puts the presets of a sweep side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from sum_assets.benchmark.cell import Outcome
from sum_assets.benchmark.run import Measured
from sum_assets.benchmark.statistics import Estimate, estimate, paired_ratio
from sum_assets.benchmark.sweep import BASELINE
from sum_assets.corpus.measurements import agreement
from sum_assets.report import duration
from sum_assets.summarizer import GpuSettings


@dataclass(frozen=True, slots=True)
class PresetReport:
    """One preset over its replicates. `speedup` is against the baseline of the same replicates.

    `same_as_baseline` is the share of abstracts for which its first replicate wrote the baseline's very text;
    `days` is for the corpus at its median rate. Both are None without what they need.
    """

    preset: str
    outcome: Outcome
    detail: str
    rate: Estimate | None
    speedup: Estimate | None
    same_as_baseline: float | None
    peak_process_mib: int | None
    days: float | None
    settings: dict[str, Any]

    @property
    def undecided(self) -> bool:
        """Whether the speed-up's interval covers 1."""
        return self.speedup is not None and self.speedup.undecided

    def sentence(self, corpus_rows: int) -> str:
        """Return what a person can repeat of it."""
        if self.rate is None:
            return f"{self.preset}: {self.outcome}. {self.detail}"
        said = f"{self.preset}: {self.rate.median:.3g} abstracts/s"
        if self.speedup:
            verdict = " (undecided)" if self.undecided else ""
            interval = f"{self.speedup.low:.1f} to {self.speedup.high:.1f}"
            said += f", {self.speedup.median:.1f}x the baseline, {interval}{verdict}"
        return f"{said}, {duration(self.days or 0)} for {corpus_rows:,} abstracts"

    def cells(self) -> list[str]:
        """Return it as a row of a table: preset, outcome, rate, speed-up, interval, same, MiB, days."""
        speedup = self.speedup
        return [
            self.preset,
            self.outcome,
            f"{self.rate.median:.3f}" if self.rate else "",
            "" if speedup is None else "undecided" if self.undecided else f"{speedup.median:.1f}x",
            f"{speedup.low:.1f} to {speedup.high:.1f}" if speedup else "",
            "" if self.same_as_baseline is None else f"{self.same_as_baseline:.0%}",
            "" if self.peak_process_mib is None else f"{self.peak_process_mib:,}",
            "" if self.days is None else f"{self.days:,.2f}",
        ]

    def as_json(self) -> dict[str, Any]:
        """Return plain numbers; an interval without an end is null."""
        rate, speedup = self.rate, self.speedup
        return {
            "preset": self.preset,
            "outcome": self.outcome,
            "detail": self.detail,
            "abstracts_per_second": rate.median if rate else None,
            "speedup": speedup.median if speedup else None,
            "speedup_low": speedup.low if speedup and speedup.low > 0 else None,
            "speedup_high": speedup.high if speedup and math.isfinite(speedup.high) else None,
            "undecided": self.undecided,
            "same_as_baseline": self.same_as_baseline,
            "peak_process_mib": self.peak_process_mib,
            "days": self.days,
            "settings": self.settings,
        }


def report(connection: Connection, measured: Sequence[Measured], corpus_rows: int) -> list[PresetReport]:
    """Return one row per preset, the fastest first, those without a rate last."""
    names = list(dict.fromkeys(m.cell.name for m in measured))
    rows = [_preset(connection, name, measured, corpus_rows) for name in names]
    return sorted(rows, key=lambda row: -row.rate.median if row.rate else math.inf)


def run_configuration(row: PresetReport) -> dict[str, Any]:
    """Return the run configuration of `summaries` that a preset stands for, without what it leaves alone."""
    fields = GpuSettings.model_fields
    chosen = {k: v for k, v in row.settings.items() if k in fields and v != fields[k].default}
    return {"resources": {"gpu": {"config": chosen}}}


def as_markdown(rows: Sequence[PresetReport]) -> str:
    """Return the presets as a Markdown table."""
    lines = [
        "| preset | outcome | abstracts/s | speed-up | 95 % | same as baseline | MiB | days |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        cells = row.cells()
        if row.detail:
            cells[1] = f"{row.outcome}: {row.detail}"
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def _preset(connection: Connection, name: str, measured: Sequence[Measured], corpus_rows: int) -> PresetReport:
    own = [m for m in measured if m.cell.name == name]
    bad = next((m.result for m in own if m.result.outcome != "ok"), None)
    good = {m.cell.replicate: m for m in own if m.result.outcome == "ok"}
    baseline = {m.cell.replicate: m for m in measured if m.cell.name == BASELINE and m.result.outcome == "ok"}
    rate = speedup = same = None
    if good and bad is None:
        rate = estimate([_rate(m) for m in good.values()])
    if good and name != BASELINE:
        paired = sorted(set(good) & set(baseline))
        if paired and bad is None:
            speedup = paired_ratio([_rate(good[r]) for r in paired], [_rate(baseline[r]) for r in paired])
        if 1 in baseline:
            same = agreement(connection, good[min(good)].cell.key, baseline[1].cell.key)
    return PresetReport(
        preset=name,
        outcome=bad.outcome if bad else "ok",
        detail=bad.detail if bad else "",
        rate=rate,
        speedup=speedup,
        same_as_baseline=same,
        peak_process_mib=max((m.result.peak_process_bytes or 0) for m in own) // 2**20 if rate else None,
        days=corpus_rows / rate.median / 86400 if rate else None,
        settings=own[0].cell.settings["preset"],
    )


def _rate(measured: Measured) -> float:
    assert measured.result.seconds is not None
    return measured.result.abstracts / measured.result.seconds
