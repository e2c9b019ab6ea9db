"""Runs several workers of one model behind one engine.

The pool starts the workers, cuts the prompts into batches, longest first, and gives each worker a thread. A thread
takes a batch from the `BatchScheduler`, has its worker generate it, and delivers what is finished. The scheduler
decides which worker is a straggler or is quarantined, and which batch is blamed. The pool ends and restarts processes.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

import torch

from sum_assets.errors import EngineFaultError, UserError, WorkerError
from sum_assets.summarizer.engines.subprocess_engine import WorkerGenerator
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.parallel.batch_scheduler import BatchScheduler, WorkerStats, cut
from sum_assets.summarizer.types import EngineState, Generator, Output


class Worker(Generator, Protocol):
    """A generator in another process. Raises WorkerError if it fails; the next call restarts it."""

    @property
    def starts(self) -> int:
        """How often the worker was started."""
        ...

    def end(self) -> None:
        """End the worker, even in the middle of a batch."""
        ...


class Pool:
    """Distributes prompts among workers; see `sum_assets.summarizer.types.Generator`.

    A batch that fails goes to another worker. A worker that keeps failing, or cannot be started, is quarantined.
    Raises UserError if no worker can load the model, the error of a blamed batch after all others are finished, and
    EngineFaultError if no worker is left.
    """

    def __init__(self, resolved: ModelSettings, start: dict[WorkerStats, Callable[[], Worker]]) -> None:
        self._resolved = resolved
        self._seconds = 0.0
        self._stats = list(start)
        self._workers: dict[WorkerStats, Worker] = {}
        with ThreadPoolExecutor(len(start)) as executor:
            futures = {stats: executor.submit(make) for stats, make in start.items()}
        for stats, future in futures.items():
            try:
                self._workers[stats] = future.result()
            except (UserError, WorkerError) as error:
                stats.quarantine(str(error))
                if all(each.quarantined for each in start):
                    raise

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield outputs as the workers finish them."""
        resolved = self._resolved
        available = [stats for stats in self._stats if stats.quarantined is None]
        batches = cut(
            [len(ids) for ids in prompts],
            max(len(available), 1),
            rows=resolved.batch_size,
            tokens=resolved.batch_tokens,
            output=resolved.settings.max_output_tokens,
            continuous=resolved.continuous,
        )
        if not batches:
            return
        scheduler = BatchScheduler(batches, available)
        threads = [
            threading.Thread(target=self._work, args=[stats, scheduler, prompts], daemon=True) for stats in available
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            while available and (finished := scheduler.finished.get()) is not None:
                yield finished
            unfinished = scheduler.unfinished
        finally:
            for stats in scheduler.close():  # stragglers, or the caller wants no more outputs
                self._workers[stats].end()
            for thread in threads:
                thread.join()
            self._seconds += time.perf_counter() - started
        if scheduler.failures:
            raise scheduler.failures[0]
        if unfinished:
            reasons = "; ".join(f"{stats.name}: {stats.quarantined}" for stats in self._stats)
            raise EngineFaultError(f"No worker is left. {reasons}")

    def _work(self, stats: WorkerStats, scheduler: BatchScheduler, prompts: Sequence[list[int]]) -> None:
        """Have a worker generate batch after batch, and report to the scheduler how each one ended."""
        worker = self._workers[stats]
        while batch := scheduler.acquire(stats):
            began, rows = time.perf_counter(), list(batch.rows)
            try:
                for finished in worker.generate([prompts[row] for row in rows]):
                    scheduler.deliver(stats, batch, [(rows[index], output) for index, output in finished])
                for straggler in scheduler.complete(stats, batch):  # only it may be eligible for another batch
                    self._workers[straggler].end()
            except UserError as error:  # the worker cannot be started again
                scheduler.give_up(stats, batch, str(error))
            except Exception as error:
                scheduler.fail(stats, batch, error)
            stats.busy_seconds += time.perf_counter() - began
            stats.restarts = worker.starts - 1
        scheduler.leave()

    def state(self) -> EngineState:
        """Return the workers' states, with their memory added up."""
        states = {stats: worker.state() for stats, worker in self._workers.items()}
        device_bytes: dict[str, int] = {}
        for stats, state in states.items():
            device_bytes[stats.device] = device_bytes.get(stats.device, 0) + (state.peak_device_bytes or 0)
        return EngineState(
            device_name=", ".join(dict.fromkeys(state.device_name for state in states.values())),
            batch_size=min(state.batch_size for state in states.values()),
            out_of_memory=sum(state.out_of_memory for state in states.values()),
            peak_device_bytes=max(device_bytes.values()) or None,
            peak_worker_bytes=sum(state.peak_worker_bytes or 0 for state in states.values()) or None,
            workers=tuple(stats.snapshot(self._seconds) for stats in self._stats),
        )


def open_pool(resolved: ModelSettings, tokenizer: Any) -> Pool:
    """Start a worker process for each worker's device. On a CPU, each gets its own cores."""
    places = resolved.worker_devices
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    on_cpu = resolved.device.kind == "cpu"
    threads = resolved.threads_per_worker or (max(1, torch.get_num_threads() // len(places)) if on_cpu else None)

    def start(number: int) -> Callable[[], Worker]:
        worker_settings = replace(resolved, device=places[number], threads_per_worker=threads)
        bound = on_cpu and len(places) * (threads or 0) <= len(cores)
        worker_cores = cores[number * (threads or 0) : (number + 1) * (threads or 0)] if bound else []
        return lambda: WorkerGenerator(worker_settings, tokenizer, worker_cores)

    workers = [
        WorkerStats(f"worker {number} on {device.torch_name}", device.torch_name)
        for number, device in enumerate(places, 1)
    ]
    return Pool(resolved, {stats: start(number) for number, stats in enumerate(workers)})
