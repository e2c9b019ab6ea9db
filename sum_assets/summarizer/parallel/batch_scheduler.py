"""Hands batches to several workers, and decides what happens when a worker fails, hangs or falls behind.

A straggler is a worker that has reported no progress on its batch for `STRAGGLER_TIMEOUT` seconds, or for
`STRAGGLER_FACTOR` times the longest wait so far, if that is more. An idle worker then takes the batch too, and the
first of the two to finish a row wins.

A batch on which a worker fails goes to another worker. If that one succeeds, the failure counts against the first
worker, and so does a batch that a straggler lost to another. After `MAX_CONSECUTIVE_FAILURES` in a row a worker is
quarantined: it gets no more batches. A worker that cannot be started is quarantined at once.

A batch is blamed, and not handed out again, if two workers fail on it and one of them had finished another batch since
its previous failure, or if every worker fails on it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from sum_assets.summarizer.types import Output, WorkerState

_log = logging.getLogger(__name__)
#: Failures in a row, on batches that other workers then finish, after which a worker is quarantined.
MAX_CONSECUTIVE_FAILURES = 3
#: Seconds without progress after which a worker is a straggler.
STRAGGLER_TIMEOUT = 60.0
#: The same as a multiple of the longest wait for progress so far; the larger of the two applies.
STRAGGLER_FACTOR = 3.0


def cut(
    lengths: Sequence[int], workers: int, *, rows: int, tokens: int | None, output: int, continuous: bool
) -> list[range]:
    """Cut prompts, longest first, into batches of `rows`, and of `tokens` with `output` of them for each summary.

    No batch is more than a worker's share of all tokens. An engine with continuous batching (`continuous`) starts the
    next prompt when one ends, and idles only at the end of a batch. So its batches are larger: half of a worker's
    share of the tokens that are left.
    """
    costs = [length + output for length in lengths]
    total = left = sum(costs)
    batches, first, cost = [], 0, 0
    for row in range(len(costs)):
        size = row - first
        if continuous:
            full = size >= rows and cost >= left / (2 * workers)
        else:
            full = size >= rows or (tokens is not None and (size + 1) * costs[first] > tokens)
        if size and (full or cost >= total / workers):
            batches.append(range(first, row))
            left -= cost
            first, cost = row, 0
        cost += costs[row]
    return [*batches, range(first, len(costs))] if costs else []


@dataclass(eq=False)
class WorkerStats:
    """The scheduler's record of one worker. It is `proven` once it finishes a batch, until it next fails."""

    name: str
    device: str
    rows: int = 0
    busy_seconds: float = 0.0
    restarts: int = 0
    consecutive_failures: int = 0
    proven: bool = False
    quarantined: str | None = None

    def quarantine(self, reason: str) -> None:
        """Give the worker no more batches, and log the reason."""
        self.quarantined = reason
        _log.warning("%s was quarantined: %s", self.name, reason)

    def snapshot(self, total_seconds: float) -> WorkerState:
        """Return the record as it is now, with the seconds in which there was work for the pool."""
        return WorkerState(
            self.name, self.rows, self.busy_seconds, total_seconds, self.restarts, quarantined=self.quarantined
        )


@dataclass(eq=False)
class Batch:
    """A batch: its unfinished rows, the workers busy with it, and who failed on it, with whether it was proven then."""

    rows: list[int]
    holders: set[WorkerStats] = field(default_factory=set)
    failed: dict[WorkerStats, bool] = field(default_factory=dict)
    settled: bool = False
    last_progress_at: float = 0.0


class BatchScheduler:
    """Schedules the batches of one pass over several workers; its methods may be called from any thread.

    The rules are at the top of this module.
    """

    def __init__(self, batches: Sequence[Sequence[int]], workers: Sequence[WorkerStats]) -> None:
        self._changed = threading.Condition()
        self._workers = workers
        self._waiting = deque(Batch(list(rows)) for rows in batches)
        self._running: list[Batch] = []
        self._unfinished_rows = {row for rows in batches for row in rows}
        self._unsettled = len(self._waiting)
        self._present = len(workers)
        self._busy: set[WorkerStats] = set()
        self._longest_wait = 0.0
        #: Lists of (row, output), and None at the end.
        self.finished: SimpleQueue[list[tuple[int, Output]] | None] = SimpleQueue()
        self.failures: list[Exception] = []

    @property
    def unfinished(self) -> bool:
        """Whether batches remain, and no worker is left to take them."""
        return self._unsettled > 0

    def acquire(self, worker: WorkerStats) -> Batch | None:
        """Wait for a batch that the worker may take. Return None when there will be no more."""
        with self._changed:
            while self._unsettled and worker.quarantined is None:
                batch = next((b for b in self._waiting if self._is_eligible(worker, b)), None)
                if batch:
                    self._waiting.remove(batch)
                    self._running.append(batch)
                else:
                    batch = self._straggling(worker)
                if batch:
                    batch.last_progress_at = time.monotonic()  # a straggler's wait is no measure for others
                    batch.holders.add(worker)
                    self._busy.add(worker)
                    return batch
                self._changed.wait(0.2)
            return None

    def _is_eligible(self, worker: WorkerStats, batch: Batch) -> bool:
        """Return whether a worker may take a batch.

        A worker whose failed batch is still open may only take batches that others failed on, so that it cannot
        fail on all the rest.
        """
        if worker in batch.failed:
            return not self._untried(batch)
        suspected = any(worker in b.failed and self._untried(b) for b in (*self._waiting, *self._running))
        return bool(batch.failed) or not suspected

    def _untried(self, batch: Batch) -> list[WorkerStats]:
        """Return the workers that may still succeed on a batch."""
        return [w for w in self._workers if w.quarantined is None and w not in batch.failed]

    def _straggling(self, worker: WorkerStats) -> Batch | None:
        """Return a batch whose only worker is a straggler, for an idle worker to take too."""
        timeout = max(STRAGGLER_TIMEOUT, STRAGGLER_FACTOR * self._longest_wait)
        return next(
            (
                b
                for b in self._running
                if len(b.holders) == 1 and worker not in b.failed and time.monotonic() - b.last_progress_at > timeout
            ),
            None,
        )

    def deliver(self, worker: WorkerStats, batch: Batch, outputs: Sequence[tuple[int, Output]]) -> None:
        """Accept finished rows: the heartbeat of a batch. Rows that another worker finished first are dropped."""
        with self._changed:
            now = time.monotonic()
            self._longest_wait = max(self._longest_wait, now - batch.last_progress_at)
            batch.last_progress_at = now
            new = [(row, output) for row, output in outputs if row in self._unfinished_rows]
            self._unfinished_rows.difference_update(row for row, _ in new)
            batch.rows = [row for row in batch.rows if row in self._unfinished_rows]
            worker.rows += len(new)
            if new:
                self.finished.put(new)

    def complete(self, worker: WorkerStats, batch: Batch) -> set[WorkerStats]:
        """Record that a worker completed a batch. This counts as a failure of every other worker that had it.

        Returns the workers that are still busy with it, which may be ended.
        """
        with self._changed:
            self._busy.discard(worker)
            worker.proven, worker.consecutive_failures = True, 0
            if batch.settled:
                return set()
            for other in {*batch.failed, *batch.holders} - {worker}:
                other.consecutive_failures += 1
                if other.consecutive_failures >= MAX_CONSECUTIVE_FAILURES and other.quarantined is None:
                    other.quarantine(
                        f"it failed {MAX_CONSECUTIVE_FAILURES} times in a row on batches that others then finished"
                    )
            self._settle(batch)
            return batch.holders - {worker}

    def fail(self, worker: WorkerStats, batch: Batch, error: Exception) -> None:
        """Record that a worker failed on a batch. Blame the batch, or hand it to another worker."""
        with self._changed:
            self._busy.discard(worker)
            batch.holders.discard(worker)
            if batch.settled:
                return
            _log.warning("%s failed: %s", worker.name, error)
            batch.failed[worker], worker.proven = worker.proven, False
            if batch.holders:
                return
            blamed = len(batch.failed) > 1 and any(batch.failed.values())
            if blamed or not self._untried(batch):
                self.failures.append(error)
                self._settle(batch)
            else:
                self._hand_back(batch)

    def give_up(self, worker: WorkerStats, batch: Batch, reason: str) -> None:
        """Quarantine a worker that cannot be started, and hand its batch back."""
        with self._changed:
            self._busy.discard(worker)
            worker.quarantine(reason)
            batch.holders.discard(worker)
            if not batch.settled and not batch.holders:
                self._hand_back(batch)

    def _hand_back(self, batch: Batch) -> None:
        self._running.remove(batch)
        self._waiting.appendleft(batch)
        self._changed.notify_all()

    def _settle(self, batch: Batch) -> None:
        batch.settled = True
        self._running.remove(batch)
        self._unsettled -= 1
        self._changed.notify_all()
        if not self._unsettled:
            self.finished.put(None)

    def leave(self) -> None:
        """Record that a worker takes no more batches. When the last one leaves, the pass is over."""
        with self._changed:
            self._present -= 1
            if not self._present and self._unsettled:
                self.finished.put(None)

    def close(self) -> set[WorkerStats]:
        """Hand out no more batches. Return the workers that are still busy."""
        with self._changed:
            for batch in [*self._waiting, *self._running]:
                batch.settled = True
            self._waiting.clear()
            self._unsettled = 0
            self._changed.notify_all()
            return self._busy.copy()
