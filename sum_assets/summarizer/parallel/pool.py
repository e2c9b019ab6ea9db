"""Several workers of one model behind one engine: they pull batches from one queue, longest first."""

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
from sum_assets.summarizer.parallel.scheduler import Record, ShareOut, cut
from sum_assets.summarizer.resolved import ModelSettings
from sum_assets.summarizer.types import EngineState, Generator, Output, WorkerState


class Worker(Generator, Protocol):
    """A generator elsewhere. Raises WorkerError where it fails, and starts anew with the next call."""

    @property
    def starts(self) -> int:
        """How often it was started."""
        ...

    def end(self) -> None:
        """End it, whatever it is at."""
        ...


class Pool:
    """Shares prompts out among workers; see `sum_assets.summarizer.types.Generator`.

    A batch that fails goes to another worker, and a worker that goes on failing is set aside, as is one that cannot
    be started. Raises UserError where no worker can load the model and, after all else is finished, the error of a
    batch on which several workers failed.
    """

    def __init__(self, resolved: ModelSettings, start: dict[Record, Callable[[], Worker]]) -> None:
        self._resolved = resolved
        self._seconds = 0.0
        self._records = list(start)
        self._workers: dict[Record, Worker] = {}
        with ThreadPoolExecutor(len(start)) as loading:
            futures = {record: loading.submit(make) for record, make in start.items()}
        for record, future in futures.items():
            try:
                self._workers[record] = future.result()
            except (UserError, WorkerError) as error:
                record.put_aside(str(error))
                if all(each.set_aside for each in start):
                    raise

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield what the workers finish, as they do."""
        resolved = self._resolved
        present = [record for record in self._records if record.set_aside is None]
        batches = cut(
            [len(ids) for ids in prompts],
            max(len(present), 1),
            rows=resolved.batch_size,
            tokens=resolved.batch_tokens,
            output=resolved.settings.max_output_tokens,
            continuous=resolved.continuous,
        )
        if not batches:
            return
        share_out = ShareOut(batches, present)
        threads = [
            threading.Thread(target=self._work, args=[record, share_out, prompts], daemon=True) for record in present
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            while present and (finished := share_out.finished.get()) is not None:
                yield finished
            unfinished = share_out.unfinished
        finally:
            for record in share_out.close():  # too slow, or nobody waits for it any more
                self._workers[record].end()
            for thread in threads:
                thread.join()
            self._seconds += time.perf_counter() - started
        if share_out.failures:
            raise share_out.failures[0]
        if unfinished:
            reasons = "; ".join(f"{record.name}: {record.set_aside}" for record in self._records)
            raise EngineFaultError(f"No worker is left. {reasons}")

    def _work(self, record: Record, share_out: ShareOut, prompts: Sequence[list[int]]) -> None:
        """Do batch after batch; what ends a worker is told to the others."""
        worker = self._workers[record]
        while batch := share_out.take(record):
            began, rows = time.perf_counter(), list(batch.rows)
            try:
                for finished in worker.generate([prompts[row] for row in rows]):
                    share_out.deliver(record, batch, [(rows[index], output) for index, output in finished])
                for slow in share_out.end(record, batch):  # it may be the only one who can do another batch
                    self._workers[slow].end()
            except UserError as error:  # it cannot be started again
                share_out.give_up(record, batch, str(error))
            except Exception as error:
                share_out.fail(record, batch, error)
            record.busy_seconds += time.perf_counter() - began
            record.restarts = worker.starts - 1
        share_out.leave()

    def state(self) -> EngineState:
        """Return the workers' states and records, and their memory together."""
        states = {record: worker.state() for record, worker in self._workers.items()}
        by_device: dict[str, int] = {}
        for record, state in states.items():
            by_device[record.device] = by_device.get(record.device, 0) + (state.peak_device_bytes or 0)
        return EngineState(
            device_name=", ".join(dict.fromkeys(state.device_name for state in states.values())),
            batch_size=min(state.batch_size for state in states.values()),
            out_of_memory=sum(state.out_of_memory for state in states.values()),
            peak_device_bytes=max(by_device.values()) or None,
            peak_worker_bytes=sum(state.peak_worker_bytes or 0 for state in states.values()) or None,
            workers=tuple(
                WorkerState(r.name, r.rows, r.busy_seconds, self._seconds, r.restarts, r.set_aside)
                for r in self._records
            ),
        )


def open_pool(resolved: ModelSettings, tokenizer: Any) -> Pool:
    """Start a worker process in each place, on a CPU each on cores of its own."""
    places = resolved.worker_devices
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    on_cpu = resolved.device.kind == "cpu"
    threads = resolved.threads_per_worker or (max(1, torch.get_num_threads() // len(places)) if on_cpu else None)

    def start(number: int) -> Callable[[], Worker]:
        one = replace(resolved, device=places[number], threads_per_worker=threads)
        cores = available[number * (threads or 0) : (number + 1) * (threads or 0)] if on_cpu else []
        enough = len(places) * (threads or 0) <= len(available)
        return lambda: WorkerGenerator(one, tokenizer, cores if enough else [])

    records = [
        Record(f"worker {number} on {device.torch_name}", device.torch_name) for number, device in enumerate(places, 1)
    ]
    return Pool(resolved, {record: start(number) for number, record in enumerate(records)})
