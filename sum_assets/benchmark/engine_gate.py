"""Holds an engine that converts a model against transformers in full precision, once for each fingerprint."""

from collections.abc import Callable

from psycopg import Connection

from sum_assets.benchmark.cell import Task
from sum_assets.benchmark.quality import Gate, compare, gate
from sum_assets.benchmark.run import run_cell
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

#: Abstracts to judge by: as many as docs/benchmark.md asks for.
SAMPLE = 32
_TIME_LIMIT = 6 * 3600.0


def require_gate(
    connection: Connection,
    gpu: GpuSettings,
    summarizer: SummarizerSettings,
    fingerprint: str,
    say: Callable[[str], object],
) -> bool:
    """Let pass what writes as transformers in float32 does. Raises UnsupportedError for an engine that does not.

    The caller holds the device that `gpu` names.

    Only the first run of a fingerprint judges, on a sample of the corpus; `say` hears that it does. Return whether
    it was this one.
    """
    if gpu.engine in ("transformers", "lead"):
        return False
    found = gate_verdict(connection, fingerprint)
    judged = found is None
    if found is None:
        say(f"engine {gpu.engine}: its summaries of {SAMPLE} abstracts are held against float32 first, this once")
        found = _judge(connection, gpu, summarizer, fingerprint)
    passes, reason = found
    if not passes:
        raise UnsupportedError(
            f"engine {gpu.engine} fails the quality gate against transformers in float32: {reason}. Set engine: "
            "transformers, or another precision or quantization. A pilot (`limit`) is not held against anything."
        )
    return judged


def _judge(
    connection: Connection, gpu: GpuSettings, summarizer: SummarizerSettings, fingerprint: str
) -> tuple[bool, str]:
    chosen = {name: getattr(gpu, name) for name in GpuSettings.model_fields}
    chosen |= {"device": (gpu.devices or [gpu.device])[0], "devices": [], "workers_per_device": 1}
    full = {"engine": "transformers", "precision": "float32", "quantization": "none", "attention": "auto"}
    ids = draw_sample(connection, SAMPLE)
    reference = _write(connection, Preset.model_validate(chosen | full), summarizer, f"gate-{fingerprint}-float32", ids)
    own = _write(connection, Preset.model_validate(chosen), summarizer, f"gate-{fingerprint}", ids)
    quality, itself = compare(own, reference), compare(reference, reference)
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
    settings = {name: getattr(summarizer, name) for name in SummarizerSettings.model_fields}
    result = run_cell(Task(cell, preset.model_dump(), settings, ids, []), _TIME_LIMIT)
    if result.outcome != "ok":
        raise UnsupportedError(
            f"engine {preset.engine} could not be held against float32: {result.outcome}: {result.detail}"
        )
    return summaries_of(connection, cell)
