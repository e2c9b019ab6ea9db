"""One replicate of one preset, in a process of its own: `python -m sum_assets.benchmark.cell`.

It reads its task as JSON from standard input and writes its result as the last line of standard output. What
kills it or hangs it tells the parent by signal and time.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sum_assets.benchmark.sweep import Preset
from sum_assets.corpus.database import connect
from sum_assets.corpus.measurements import SummaryWriter
from sum_assets.corpus.results import read_abstracts
from sum_assets.errors import UnsupportedError, UserError
from sum_assets.pipeline import peak_process_bytes
from sum_assets.summarizer import (
    Abstract,
    Phases,
    Rejection,
    SummarizerSettings,
    Summary,
    open_summarizer,
    resolve_settings,
)

Outcome = Literal["ok", "out_of_memory", "unsupported", "device_lost", "killed", "timeout", "failed"]
_DEVICE_LOST = (
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "device is lost",
    "ecc error",
)


@dataclass(frozen=True)
class Task:
    """What a cell needs to know."""

    cell: str
    preset: dict[str, Any]
    summarizer: dict[str, Any]
    ids: list[int]
    warm_up: list[int]
    memory_limit_mib: int | None


@dataclass(frozen=True)
class CellResult:
    """What a cell found: times in seconds, sizes in bytes. Without `ok`, only the outcome and its sentence count."""

    outcome: Outcome
    detail: str = ""
    abstracts: int = 0
    seconds: float | None = None
    phases: dict[str, float] = field(default_factory=dict)
    output_tokens: int = 0
    peak_process_bytes: int | None = None
    peak_device_bytes: int | None = None


def measure(task: Task) -> CellResult:
    """Load, warm up, then time the sample from the first read to the last commit."""
    preset = Preset.model_validate(task.preset)
    if task.memory_limit_mib is not None:
        limit = task.memory_limit_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    loading = Phases()
    with loading("load_model"):
        resolved = resolve_settings(preset, SummarizerSettings.model_validate(task.summarizer))
        if preset.threads:
            import torch

            torch.set_num_threads(preset.threads)
        engine = open_summarizer(resolved, pad_to_limit=preset.naive)
    with connect() as connection:
        writer = SummaryWriter(task.cell, one_by_one=preset.naive)
        warm_up = [Abstract(r.abstract_id, r.abstract or "") for r in read_abstracts(connection, task.warm_up)]
        if warm_up:
            for _ in engine.summarize(warm_up, Phases()):
                pass
        phases = Phases()
        done = tokens = 0
        for ids in _windows(task.ids, 1 if preset.naive else len(task.ids)):
            with phases("read"):
                rows = read_abstracts(connection, ids)
            for results in engine.summarize([Abstract(r.abstract_id, r.abstract or "") for r in rows], phases):
                rejected = next((r for r in results if isinstance(r, Rejection)), None)
                if rejected:
                    outcome: Outcome = "out_of_memory" if rejected.reason == "out_of_memory" else "failed"
                    return CellResult(outcome, f"{rejected.reason}: {rejected.detail}")
                summaries = [r for r in results if isinstance(r, Summary)]
                with phases("write"):
                    writer.write(connection, [(s.abstract_id, s.text) for s in summaries])
                done += len(summaries)
                tokens += sum(s.output_tokens for s in summaries)
        seconds, spent = phases.total(), phases.seconds()
    state = engine.state()
    if state.out_of_memory:
        return CellResult("out_of_memory", f"batch_size {preset.batch_size} does not fit; {state.batch_size} does")
    spent["load_model"] = loading.seconds()["load_model"]
    return CellResult("ok", "", done, seconds, spent, tokens, peak_process_bytes(), state.peak_device_bytes)


def _windows(ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), max(size, 1)):
        yield ids[start : start + size]


def classify(error: BaseException) -> CellResult:
    """Tell an exception's outcome by its type and by what the driver says."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, UnsupportedError):
        return CellResult("unsupported", said)
    if isinstance(error, MemoryError) or ("memory" in said.lower() and "alloc" in said.lower()):
        return CellResult("out_of_memory", said)
    if any(sign in said.lower() for sign in _DEVICE_LOST):
        return CellResult("device_lost", said)
    return CellResult("failed", said if isinstance(error, UserError) else f"{type(error).__name__}: {said}")


def main() -> None:
    """Run the task on standard input."""
    try:
        result = measure(Task(**json.load(sys.stdin)))
    except Exception as error:
        result = classify(error)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
