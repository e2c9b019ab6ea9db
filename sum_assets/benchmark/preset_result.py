"""What was measured of one preset: its speed, speed-up, quality, gate and projection."""

import json
import math
from dataclasses import dataclass
from typing import Any

from sum_assets.benchmark.cell import CellResult, Outcome
from sum_assets.benchmark.confidence_interval import Estimate
from sum_assets.benchmark.projection import Projection
from sum_assets.benchmark.quality_gate import ENOUGH, Gate, Quality
from sum_assets.summarizer import GpuSettings
from sum_assets.summarizer.engine_registry import ENGINES
from sum_assets.summarizer.roofline import Share
from sum_assets.units import count, duration, rounded

_WORKER_SETTINGS = ("device", "devices", "workers_per_device", "threads_per_worker")


@dataclass(frozen=True, slots=True)
class PresetResult:
    """One preset over its replicates.

    `rate` is in abstracts per second, without loading the model. `speedup` is over the baseline of the same
    replicates. `quality` compares its first replicate with full precision. `results` are the replicates that worked.
    `efficiency` is the rate over that of the fastest preset with one worker and otherwise the same settings, divided
    by the number of workers. `price_per_hour` is that of one device. What is not known is None.
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
    price_per_hour: float | None = None

    @property
    def undecided(self) -> bool:
        """Whether the speed-up's interval covers 1."""
        return self.speedup is not None and self.speedup.undecided

    @property
    def recommendable(self) -> bool:
        """Whether it works and its summaries pass the gate."""
        return self.rate is not None and self.gate is not None and self.gate.passes

    @property
    def few(self) -> int | None:
        """The number of abstracts that the gate compared, where it is too small. The naive loop always takes few."""
        compared = self.quality.abstracts if self.gate and self.quality and not self.settings["naive"] else ENOUGH
        return compared if compared < ENOUGH else None

    @property
    def peak_mib(self) -> int | None:
        """The largest memory use: the device's where its driver tells, otherwise the process's."""
        peaks = [r.peak_device_bytes or r.peak_process_bytes or 0 for r in self.results]
        return max(peaks) // 2**20 if peaks else None

    def mean(self, field: str) -> float | None:
        """Return the mean of a field over the replicates that have it."""
        values = [value for r in self.results if (value := getattr(r, field)) is not None]
        return sum(values) / len(values) if values else None

    @property
    def share(self) -> Share | None:
        """The median replicate's share of the device's limit, or the reason why it has none."""
        shares = [Share(**r.resolved["limit"]) for r in self.results if "limit" in r.resolved]
        shares.sort(key=lambda share: share.value or 0)
        return shares[len(shares) // 2] if shares else None

    @property
    def seconds_per_abstract(self) -> dict[str, float]:
        """Seconds of each phase per abstract, without loading the model."""
        total = sum(r.abstracts for r in self.results)
        before = ("load_model", "warm_up")
        phases = [p for p in (self.results[0].phases if self.results else ()) if p not in before]
        return {phase: sum(r.phases[phase] for r in self.results) / total for phase in phases}

    @property
    def number_format(self) -> str:
        """The quantization, or without one the precision."""
        return str(self.settings["precision" if self.settings["quantization"] == "none" else "quantization"])

    @property
    def device(self) -> str:
        """The device, or all of them."""
        return ", ".join(self.settings["devices"] or [self.settings["device"]])

    @property
    def has_model(self) -> bool:
        """Whether its engine loads a model."""
        spec = ENGINES.get(self.settings["engine"])
        return spec is None or spec.has_model

    @property
    def cost(self) -> float | None:
        """The price of its devices while they summarize the corpus. A cluster's devices are not known."""
        if self.price_per_hour is None or self.projection is None or self.settings["ray_address"]:
            return None
        return self.price_per_hour * max(len(self.settings["devices"]), 1) * self.projection.seconds / 3600

    @property
    def energy_kwh(self) -> float | None:
        """The energy of its device for the corpus. Of several devices, the power of one alone is measured."""
        watts, several = self.mean("device_watts"), len(self.settings["devices"]) > 1 or self.settings["ray_address"]
        if watts is None or several or self.projection is None:
            return None
        return watts * self.projection.seconds / 3_600_000

    @property
    def workers(self) -> int:
        """The number of workers on all devices."""
        return max(len(self.settings["devices"]), 1) * int(self.settings["workers_per_device"])

    @property
    def settings_without_workers(self) -> str:
        """A key that presets share if they differ only in the number of workers and of their threads."""
        return json.dumps({key: value for key, value in self.settings.items() if key not in _WORKER_SETTINGS})

    def description(self) -> str:
        """Return the name and the main settings."""
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        batch = self.settings["batch_size"] or "auto"
        return f"{self.preset} ({self.number_format}, batch {batch} on {self.device}{workers})"

    def sentence(self) -> str:
        """Return the result in one sentence."""
        if self.rate is None:
            return f"{self.preset}: {self.outcome}. {self.detail}"
        if self.speedup:
            verdict = ", undecided" if self.undecided else ""
            result = f"{self.speedup.median:.1f}x the baseline ({interval(self.speedup)}{verdict})"
        else:
            result = f"{self.rate.median:.3g} abstracts/s"
        if self.share and self.share.value is not None:
            result += f", {self.share.value:.2%} of the limit ({self.share.binds} binds)"
        if self.gate:
            result += ", passes the gate" if self.gate.passes else ", fails the gate"
        if self.few:
            result += f", though with {self.few} abstracts instead of {ENOUGH}"
        if self.projection:
            result += f", {duration(self.projection.days)} for {count(self.projection.rows)} abstracts"
        if self.cost is not None:
            result += f", at a price of {rounded(self.cost)}"
        if self.energy_kwh is not None:
            result += f", {rounded(self.energy_kwh)} kWh"
        return f"{self.description()}: {result}"

    def gpu_configuration(self) -> dict[str, Any]:
        """Return its settings for a run, without those at their default and those that its engine does not have."""
        fields = GpuSettings.model_fields
        return {k: v for k, v in self.settings.items() if k in fields and v not in (fields[k].default, None)}

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
            "cost": self.cost,
            "energy_kwh": self.energy_kwh,
            "seconds_by_phase": projection.phases if projection else None,
            "summary_bytes": projection.summary_bytes if projection else None,
            "event_log_bytes": projection.event_log_bytes if projection else None,
            "share_of_limit": self.share.value if self.share else None,
            "limit": str(self.share) if self.share else None,
            "peak_mib": self.peak_mib,
            "device_watts": self.mean("device_watts"),
            "device_utilization": self.mean("device_utilization"),
            "settings": self.settings,
        }


def interval(speedup: Estimate) -> str:
    """Return the ends of a speed-up's 95 % interval in words."""
    return f"{speedup.low:.1f} to {speedup.high:.1f}" if math.isfinite(speedup.high) else "one replicate"


def _finite(end: float) -> float | None:
    return end if 0 < end < math.inf else None
