"""The checks of a benchmarked preset: whether its result can be believed, and is worth choosing."""

import dagster as dg

from sum_assets.benchmark.preset_result import PresetResult, interval
from sum_assets.benchmark.quality_gate import ENOUGH
from sum_assets.defs.asset_names import BENCHMARK
from sum_assets.defs.checks import Verdict, log_checks, partitioned_check

OUTCOME, GATE, LARGE_SAMPLE, BEATS_BASELINE = "outcome", "gate", "large_sample", "beats_baseline"


def specs(presets: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """Return the checks of `benchmark`."""
    texts = {
        OUTCOME: "The preset could be measured.",
        GATE: "The summaries are as good as those of full precision.",
        LARGE_SAMPLE: f"The quality gate compared at least {ENOUGH} abstracts. With fewer, single texts decide.",
        BEATS_BASELINE: "The whole 95 % interval of the speed-up is above 1.",
    }
    return [partitioned_check(name, BENCHMARK, presets, text) for name, text in texts.items()]


def check(context: dg.AssetExecutionContext, preset: PresetResult) -> None:
    """Log the checks of a preset that were asked for: of one that was not measured, its outcome alone."""
    log_checks(context, BENCHMARK, preset.preset, verdicts(preset))


def verdicts(preset: PresetResult) -> dict[str, Verdict]:
    """Judge the result of a preset."""
    outcome = Verdict(preset.rate is not None, preset.sentence())
    if preset.rate is None:
        return {OUTCOME: outcome}
    gate = f"{preset.preset} {preset.gate or 'is not judged, without a reference'}"
    return {
        OUTCOME: outcome,
        GATE: Verdict(preset.recommendable, gate),
        LARGE_SAMPLE: _large_sample(preset),
        BEATS_BASELINE: _beats_baseline(preset),
    }


def _large_sample(preset: PresetResult) -> Verdict:
    if preset.few is None:
        return Verdict(True, "The sample is large enough.", warns=True)
    remedy = f"Set `sample: {ENOUGH}` or more in the sweep, and measure again."
    return Verdict(False, f"The quality gate compared {preset.few} abstracts. {remedy}", warns=True)


def _beats_baseline(preset: PresetResult) -> Verdict:
    if preset.settings["naive"]:
        return Verdict(True, "It is the baseline.", warns=True)
    if preset.speedup is None:
        return Verdict(False, "The baseline was not measured, so nothing tells the speed-up.", warns=True)
    speedup = f"It is {preset.speedup.median:.1f}x the baseline ({interval(preset.speedup)})."
    if preset.undecided:
        speedup += " That may be chance. More replicates tell: `sum-assets benchmark --replicates 3`."
    return Verdict(preset.speedup.low > 1, speedup, warns=True)
