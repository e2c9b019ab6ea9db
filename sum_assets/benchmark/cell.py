"""Measures one replicate of one preset, in its own process: `python -m sum_assets.benchmark.cell`.

It reads its task as JSON from standard input and writes its result as the last line of standard output. If it is
killed or hangs, the parent sees the signal or the time limit.
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

import psycopg

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
from sum_assets.summarizer.device_errors import describe_error, is_device_lost, is_out_of_memory
from sum_assets.summarizer.roofline import Lengths, share_of_limit

Outcome = Literal["ok", "out_of_memory", "unsupported", "device_lost", "killed", "timeout", "failed"]


@dataclass(frozen=True)
class Task:
    """What a cell needs: its key, the settings of its preset and of the summarizer, and the IDs to summarize.

    With `to_limit`, every input is made as long as the input limit.
    """

    cell: str
    preset: dict[str, Any]
    summarizer: dict[str, Any]
    ids: list[int]
    warm_up: list[int]
    to_limit: bool = False


@dataclass(frozen=True)
class CellResult:
    """The result of a cell: times in seconds, sizes in bytes. Unless `ok`, only outcome and detail count.

    `phases` are those of `sum_assets.summarizer.phases`, with `load_model` and `warm_up` outside of `seconds`.
    `batches` has four numbers for each list that the engine yielded: its rows, the sum of their input tokens, the
    sum of their squares, and the seconds of the generate phase. What the device's driver does not tell is None.
    `resolved` has the settings, and under `limit` the fields of a `Share`.
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
    """Load, warm up, then time the sample from the first read to the last commit.

    Raises what the engine raises, UserError among it, and MemoryError where a single abstract does not fit.
    """
    preset = Preset.model_validate(task.preset)
    if preset.memory_limit_mib is not None:
        limit = preset.memory_limit_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    loading = Phases()
    with loading("load_model"):
        resolved = resolve_settings(preset, SummarizerSettings.model_validate(task.summarizer))
        engine = open_summarizer(resolved, naive=preset.naive)
    with connect() as connection:
        writer = SummaryWriter(task.cell, one_by_one=preset.naive)
        warm_up_start = time.perf_counter()
        warm_up = read_abstracts(connection, task.warm_up)
        for _ in engine.summarize([_abstract(row, task) for row in warm_up], Phases()):
            pass
        warm_up_seconds = time.perf_counter() - warm_up_start
        batches: list[tuple[int, int, int, float]] = []
        reached, generated = Lengths(), 0.0
        with DeviceMeter(resolved.device) as meter:
            phases = Phases()
            for ids in _windows(task.ids, 1 if preset.naive else len(task.ids)):
                with phases("read"):
                    rows = read_abstracts(connection, ids)
                for results in engine.summarize([_abstract(row, task) for row in rows], phases):
                    summaries = [_row(result) for result in results]
                    with phases("write"):
                        writer.write(connection, summaries)
                    until = phases.seconds()["generate"]
                    lengths = [row.input_tokens for row in summaries]
                    squares = sum(n * n for n in lengths)
                    batches.append((len(lengths), sum(lengths), squares, until - generated))
                    for row in summaries:
                        if row.output_tokens:
                            reached.add(row.input_tokens, row.output_tokens)
                    generated = until
            seconds, spent = phases.total(), phases.seconds()
    state = engine.state()
    if state.out_of_memory:
        return CellResult("out_of_memory", f"batch_size {resolved.batch_size} does not fit; {state.batch_size} does")
    return CellResult(
        outcome="ok",
        abstracts=sum(batch[0] for batch in batches),
        seconds=seconds,
        phases=spent | {"load_model": loading.seconds()["load_model"], "warm_up": warm_up_seconds},
        batches=batches,
        output_tokens=reached.outputs,
        peak_process_bytes=peak_process_bytes() + (state.peak_worker_bytes or 0),
        peak_address_bytes=_peak_address_bytes(),
        resolved=resolved.all_settings() | {"limit": asdict(share_of_limit(state.roofline, reached, seconds))},
        device_name=state.device_name,
        peak_device_bytes=state.peak_device_bytes,
        device_watts=meter.watts,
        device_utilization=meter.utilization,
    )


def _abstract(row: Abstract, task: Task) -> Abstract:
    """Return the abstract; with `to_limit`, so long that it is cut (a token has less than 10 characters on average)."""
    text = row.text
    characters = 10 * task.summarizer["max_input_tokens"] if task.to_limit else 0
    return Abstract(row.abstract_id, text * (1 + characters // max(len(text), 1)))


def _row(result: Summary | Rejection) -> BenchmarkRow:
    """Return the row to store of a result. Raises MemoryError where a single abstract does not fit."""
    if isinstance(result, Summary):
        return BenchmarkRow(
            result.abstract_id, result.text, result.input_tokens, result.output_tokens, result.finish_reason
        )
    if result.reason == "out_of_memory":
        raise MemoryError(f"a single abstract does not fit: {result.detail}")
    return BenchmarkRow(result.abstract_id, "", 0, 0, "stop")


def _peak_address_bytes() -> int | None:
    """Return the peak address space of this process, which its memory limit limits; None except on Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmPeak"))


def _windows(ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), max(size, 1)):
        yield ids[start : start + size]


def classify(error: BaseException) -> CellResult:
    """Return the outcome for an exception, by its type and the driver's message."""
    message = first_line(error)
    if isinstance(error, UnsupportedError):
        return CellResult("unsupported", message)
    # The server's memory is not the device's. Of a thread that has no room left for its stack, Python says only this.
    lacks_memory = is_out_of_memory(error) and not isinstance(error, psycopg.Error)
    if lacks_memory or message == "can't start new thread":
        return CellResult("out_of_memory", message)
    if is_device_lost(Exception(str(error))):  # a worker's as well
        return CellResult("device_lost", message)
    return CellResult("failed", message if isinstance(error, UserError) else describe_error(error))


def _exit_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would read the result, and it holds the device."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Run the task on standard input."""
    threading.Thread(target=_exit_with, args=[os.getppid()], daemon=True).start()
    try:
        result = measure(Task(**json.load(sys.stdin)))
    except Exception as error:
        result = classify(error)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
