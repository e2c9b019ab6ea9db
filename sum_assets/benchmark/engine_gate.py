"""Compares an engine with transformers in full precision, once for each fingerprint."""

from collections.abc import Callable

from psycopg import Connection

from sum_assets.benchmark.cell import Task
from sum_assets.benchmark.quality_gate import Gate, compare, gate
from sum_assets.benchmark.run_sweep import run_cell
from sum_assets.benchmark.sweep import Preset
from sum_assets.database.benchmark_results import (
    SampleSummary,
    draw_sample,
    forget_summaries,
    gate_verdict,
    record_gate,
    summaries_of,
)
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import GpuSettings, SummarizerSettings
from sum_assets.summarizer.engine_registry import ENGINES

#: Abstracts to judge by: as many as docs/explanation/quality-gate.md asks for.
SAMPLE = 32
_TIME_LIMIT = 6 * 3600.0


def require_gate(
    connection: Connection,
    gpu: GpuSettings,
    summarizer: SummarizerSettings,
    fingerprint: str,
    log: Callable[[str], object],
) -> bool:
    """Raise UnsupportedError for an engine whose summaries differ too much from those of transformers in float32.

    The caller holds the device that `gpu` names. The first run of a fingerprint judges it on a sample of the corpus,
    and `log` gets a line about that. Return whether it was this run.
    """
    if not ENGINES[gpu.engine].gated:
        return False
    verdict = gate_verdict(connection, fingerprint)
    judged = verdict is None
    if verdict is None:
        log(f"engine {gpu.engine}: its summaries of {SAMPLE} abstracts are compared with float32 first, this once")
        verdict = _judge(connection, gpu, summarizer, fingerprint)
    passes, reason = verdict
    if not passes:
        raise UnsupportedError(
            f"engine {gpu.engine} fails the quality gate against transformers in float32: {reason}. Set engine: "
            "transformers, or another precision or quantization. A pilot (`limit`) is not compared with anything."
        )
    return judged


def _judge(
    connection: Connection, gpu: GpuSettings, summarizer: SummarizerSettings, fingerprint: str
) -> tuple[bool, str]:
    settings = GpuSettings.of(gpu).model_dump()
    settings |= {"device": (gpu.devices or [gpu.device])[0], "devices": [], "workers_per_device": 1}
    full = {"engine": "transformers", "precision": "float32", "quantization": "none", "attention": "auto"}
    ids = draw_sample(connection, SAMPLE)
    reference = _write(
        connection, Preset.model_validate(settings | full), summarizer, f"gate-{fingerprint}-float32", ids
    )
    judged = _write(connection, Preset.model_validate(settings), summarizer, f"gate-{fingerprint}", ids)
    quality, itself = compare(judged, reference), compare(reference, reference)
    assert quality
    assert itself
    verdict: Gate = gate(quality, itself)
    record_gate(connection, fingerprint, gpu.engine, verdict.passes, verdict.reason, quality.as_json())
    return verdict.passes, verdict.reason


def _write(
    connection: Connection, preset: Preset, summarizer: SummarizerSettings, cell: str, ids: list[int]
) -> dict[int, SampleSummary]:
    """Return what a preset writes, in a process of its own. Raises UnsupportedError where it does not work."""
    forget_summaries(connection, cell)
    settings = SummarizerSettings.of(summarizer).model_dump()
    result = run_cell(Task(cell, preset.model_dump(), settings, ids, []), _TIME_LIMIT)
    if result.outcome != "ok":
        raise UnsupportedError(
            f"engine {preset.engine} could not be compared with float32: {result.outcome}: {result.detail}"
        )
    return summaries_of(connection, cell)
