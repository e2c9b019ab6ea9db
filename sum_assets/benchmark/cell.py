"""One replicate of one preset, in a process of its own: `python -m sum_assets.benchmark.cell`.

It reads its task as JSON from standard input and writes its result as the last line of standard output. What
kills it or hangs it tells the parent by signal and time.
"""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sum_assets.benchmark.device_meter import DeviceMeter
from sum_assets.benchmark.sweep import Preset
from sum_assets.database.benchmark_results import BenchmarkRow, SummaryWriter
from sum_assets.database.connection import connect
from sum_assets.database.source import read_abstracts
from sum_assets.errors import UnsupportedError, UserError, first_line
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
from sum_assets.summarizer.device_errors import is_device_lost, named

Outcome = Literal["ok", "out_of_memory", "unsupported", "device_lost", "killed", "timeout", "failed"]


@dataclass(frozen=True)
class Task:
    """What a cell needs to know."""

    cell: str
    preset: dict[str, Any]
    summarizer: dict[str, Any]
    ids: list[int]
    warm_up: list[int]
    to_limit: bool = False


@dataclass(frozen=True)
class CellResult:
    """What a cell found: times in seconds, sizes in bytes. Without `ok`, only the outcome and its sentence count.

    `phases` are those of `sum_assets.summarizer.phases`, with `load_model` and `warm_up` outside of `seconds`.
    `batches` has, of each list that the engine yielded, its rows, their input tokens, those squared, row by row,
    and the seconds of the generate phase. What the driver does not tell of the device is None.
    """

    outcome: Outcome
    detail: str = ""
    abstracts: int = 0
    seconds: float | None = None
    phases: dict[str, float] = field(default_factory=dict)
    batches: list[tuple[int, int, int, float]] = field(default_factory=list)
    output_tokens: int = 0
    peak_process_bytes: int | None = None
    peak_address_bytes: int | None = None
    resolved: dict[str, Any] = field(default_factory=dict)
    device_name: str = ""
    peak_device_bytes: int | None = None
    device_watts: float | None = None
    device_utilization: float | None = None


def measure(task: Task) -> CellResult:
    """Load, warm up, then time the sample from the first read to the last commit."""
    preset = Preset.model_validate(task.preset)
    if preset.memory_limit_mib is not None:
        limit = preset.memory_limit_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = Phases()
    with before("load_model"):
        resolved = resolve_settings(preset, SummarizerSettings.model_validate(task.summarizer))
        engine = open_summarizer(resolved, naive=preset.naive)
    with connect() as connection:
        writer = SummaryWriter(task.cell, one_by_one=preset.naive)
        warming = time.perf_counter()
        warm_up = read_abstracts(connection, task.warm_up)
        for _ in engine.summarize([_abstract(row, task) for row in warm_up], Phases()):
            pass
        warmed = time.perf_counter() - warming
        batches: list[tuple[int, int, int, float]] = []
        tokens, generated = 0, 0.0
        with DeviceMeter(resolved.device) as meter:
            phases = Phases()
            for ids in _windows(task.ids, 1 if preset.naive else len(task.ids)):
                with phases("read"):
                    rows = read_abstracts(connection, ids)
                for results in engine.summarize([_abstract(row, task) for row in rows], phases):
                    written = [_row(result) for result in results]
                    with phases("write"):
                        writer.write(connection, written)
                    until = phases.seconds()["generate"]
                    lengths = [row.input_tokens for row in written]
                    squares = sum(n * n for n in lengths)
                    batches.append((len(lengths), sum(lengths), squares, until - generated))
                    tokens, generated = tokens + sum(row.output_tokens for row in written), until
            seconds, spent = phases.total(), phases.seconds()
    state = engine.state()
    if state.out_of_memory:
        return CellResult("out_of_memory", f"batch_size {preset.batch_size} does not fit; {state.batch_size} does")
    return CellResult(
        outcome="ok",
        abstracts=sum(batch[0] for batch in batches),
        seconds=seconds,
        phases=spent | {"load_model": before.seconds()["load_model"], "warm_up": warmed},
        batches=batches,
        output_tokens=tokens,
        peak_process_bytes=peak_process_bytes() + (state.peak_worker_bytes or 0),
        peak_address_bytes=_peak_address_bytes(),
        resolved=resolved.all_settings(),
        device_name=state.device_name,
        peak_device_bytes=state.peak_device_bytes,
        device_watts=meter.watts,
        device_utilization=meter.utilization,
    )


def _abstract(row: Abstract, task: Task) -> Abstract:
    """Return what to summarize; with `to_limit`, so long that it is cut (tokens average less than 10 characters)."""
    text = row.text
    characters = 10 * task.summarizer["max_input_tokens"] if task.to_limit else 0
    return Abstract(row.abstract_id, text * (1 + characters // max(len(text), 1)))


def _row(result: Summary | Rejection) -> BenchmarkRow:
    """Return what to keep of a result. Raises MemoryError where a single abstract does not fit."""
    if isinstance(result, Summary):
        return BenchmarkRow(
            result.abstract_id, result.text, result.input_tokens, result.output_tokens, result.finish_reason
        )
    if result.reason == "out_of_memory":
        raise MemoryError(f"a single abstract does not fit: {result.detail}")
    return BenchmarkRow(result.abstract_id, "", 0, 0, "stop")


def _peak_address_bytes() -> int | None:
    """Return the largest address space of this process, which is what a memory limit counts; Linux tells."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmPeak"))


def _windows(ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), max(size, 1)):
        yield ids[start : start + size]


def classify(error: BaseException) -> CellResult:
    """Tell an exception's outcome by its type and by what the driver says."""
    said = first_line(error)
    if isinstance(error, UnsupportedError):
        return CellResult("unsupported", said)
    # Under a limit, the loader of shared objects fails first.
    no_room = ("memory" in said.lower() and "alloc" in said.lower()) or "failed to map segment" in said
    if isinstance(error, MemoryError) or no_room:
        return CellResult("out_of_memory", said)
    if is_device_lost(Exception(str(error))):  # a worker's as well
        return CellResult("device_lost", said)
    return CellResult("failed", said if isinstance(error, UserError) else named(error))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would take its result, and it holds the device."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Run the task on standard input."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    try:
        result = measure(Task(**json.load(sys.stdin)))
    except Exception as error:
        result = classify(error)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
