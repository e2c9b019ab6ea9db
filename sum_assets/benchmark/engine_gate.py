"""Judges an engine before its first full run, once for each fingerprint."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sum_assets.database.benchmark_results import GateVerdict, gate_verdict
from sum_assets.database.reconnect import Database
from sum_assets.database.results import ResultStore
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import Phases, Summarizer

if TYPE_CHECKING:
    from sum_assets.summarizer.model_settings import ModelSettings
    from sum_assets.summarizer.resolved_settings import ResolvedSettings


def require_gate(
    database: Database,
    resolved: "ResolvedSettings",
    store: ResultStore,
    open_engine: Callable[[], Summarizer],
    phases: Phases,
    log: Callable[[str], object],
) -> GateVerdict | None:
    """Raise UnsupportedError for an engine that does not write what transformers' own `generate` writes.

    The caller holds the device. The first run of a fingerprint judges it on a sample of the corpus, and `log` gets a
    line about that. Of the time that this takes, only the loading of the engine counts. Return the verdict; None for
    an engine without a model, and where there is nothing to judge by.
    """
    if not resolved.spec.has_model:
        return None
    from sum_assets.summarizer.model_settings import ModelSettings  # loads torch

    assert isinstance(resolved, ModelSettings)
    verdict = database.run(gate_verdict, resolved.fingerprint)
    if verdict is None:
        from sum_assets.benchmark.compare_engine import judge

        with phases.paused():
            verdict = judge(database, resolved, store, open_engine, phases, log)
        if verdict:
            log(f"engine {resolved.engine}: {describe(verdict) if verdict.passes else verdict.reason}")
    if verdict and not verdict.passes:
        raise UnsupportedError(_refusal(resolved, verdict))
    return verdict


def describe(verdict: GateVerdict) -> str:
    """Return a verdict in words."""
    quality = verdict.quality
    same = round(quality["same"] * quality["abstracts"])
    reference = quality.get("reference", "transformers in float32")
    took = f"; this took {quality['seconds']:.0f} s" if "seconds" in quality else ""  # older verdicts lack it
    return f"passes: {same} of {quality['abstracts']} texts are those of {reference}{took}"


def _refusal(resolved: "ModelSettings", verdict: GateVerdict) -> str:
    if resolved.spec.gated:
        name, remedy = "fails the quality gate against", "engine: transformers, or another precision or quantization"
    else:
        name, remedy = "does not write what is written by", "attention: eager, or precision: float32"
    return (
        f"engine {resolved.engine} {name} {verdict.quality.get('reference', 'transformers in float32')}: "
        f"{verdict.reason}. Set {remedy}. A pilot (`limit`) is not compared with anything."
    )
