"""Batches for several workers: who works on which, and what becomes of those that fail or do not end."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from sum_assets.summarizer.types import Output

_log = logging.getLogger(__name__)
#: After so many failures on what others then finish, with nothing finished in between, a worker is set aside.
STRIKES = 3
#: Seconds without a sign, and times the longest wait for one so far, after which an idle worker takes a batch too.
PATIENCE = 60.0
PATIENCE_FACTOR = 3.0


def cut(
    lengths: Sequence[int], workers: int, *, rows: int, tokens: int | None, output: int, continuous: bool
) -> list[range]:
    """Cut prompts, longest first, into batches of `rows`, or of `tokens` with `output` of them for each summary.

    No batch is more than a worker's share of all there is. An engine that takes up the next prompt when one ends
    (`continuous`) gets more at once, half of its share of what is left, since it runs dry at the end of each.
    """
    costs = [length + output for length in lengths]
    total = left = sum(costs)
    batches, first, cost = [], 0, 0
    for row in range(len(costs)):
        size = row - first
        if continuous:
            full = size >= rows and cost >= left / (2 * workers)
        else:
            full = size >= rows if tokens is None else (size + 1) * costs[first] > tokens
        if size and (full or cost >= total / workers):
            batches.append(range(first, row))
            left -= cost
            first, cost = row, 0
        cost += costs[row]
    return [*batches, range(first, len(costs))] if costs else []


@dataclass(eq=False)
class Record:
    """What is known of a worker. It is `proven` by what it finished since it last failed."""

    name: str
    device: str
    rows: int = 0
    busy_seconds: float = 0.0
    restarts: int = 0
    strikes: int = 0
    proven: bool = False
    set_aside: str | None = None

    def put_aside(self, reason: str) -> None:
        """Give it nothing any more, and say so."""
        self.set_aside = reason
        _log.warning("%s was set aside: %s", self.name, reason)


@dataclass(eq=False)
class Batch:
    """Rows that are not finished yet, who is at them, and who failed on them (proven before, or not)."""

    rows: list[int]
    holders: set[Record] = field(default_factory=set)
    failed: dict[Record, bool] = field(default_factory=dict)
    settled: bool = False
    heard: float = 0.0


class ShareOut:
    """One pass of several workers over their batches; its methods may be called from any thread.

    What a worker fails on goes to another. Where two fail, one of them proven, or all, the batch is to blame: it is
    not handed out again. Where another succeeds, the worker is: with three such failures in a row it is set aside.
    A batch without a sign of life goes to an idle worker as well; the first to finish a row counts.
    """

    def __init__(self, batches: Sequence[Sequence[int]], workers: Sequence[Record]) -> None:
        self._changed = threading.Condition()
        self._workers = workers
        self._waiting = deque(Batch(list(rows)) for rows in batches)
        self._running: list[Batch] = []
        self._left = {row for rows in batches for row in rows}
        self._unsettled = len(self._waiting)
        self._present = len(workers)
        self._busy: set[Record] = set()
        self._longest_wait = 0.0
        #: Lists of (row, output), and None at the end.
        self.finished: SimpleQueue[list[tuple[int, Output]] | None] = SimpleQueue()
        self.failures: list[Exception] = []

    @property
    def unfinished(self) -> bool:
        """Whether there are batches that nobody is left to take."""
        return self._unsettled > 0

    def take(self, worker: Record) -> Batch | None:
        """Wait for a batch that the worker may have; None when there will be no more."""
        with self._changed:
            while self._unsettled and worker.set_aside is None:
                batch = next((b for b in self._waiting if self._suits(worker, b)), None)
                if batch:
                    self._waiting.remove(batch)
                    self._running.append(batch)
                else:
                    batch = self._silent(worker)
                if batch:
                    batch.heard = time.monotonic()  # the silence of who hangs is no measure for others
                    batch.holders.add(worker)
                    self._busy.add(worker)
                    return batch
                self._changed.wait(0.2)
            return None

    def _suits(self, worker: Record, batch: Batch) -> bool:
        """Whether a worker may have a batch: under suspicion, only what others failed on, or it would spoil all."""
        if worker in batch.failed:
            return not self._untried(batch)
        suspected = any(worker in b.failed and self._untried(b) for b in (*self._waiting, *self._running))
        return bool(batch.failed) or not suspected

    def _untried(self, batch: Batch) -> list[Record]:
        return [w for w in self._workers if w.set_aside is None and w not in batch.failed]

    def _silent(self, worker: Record) -> Batch | None:
        patience = max(PATIENCE, PATIENCE_FACTOR * self._longest_wait)
        return next(
            (
                b
                for b in self._running
                if len(b.holders) == 1 and worker not in b.failed and time.monotonic() - b.heard > patience
            ),
            None,
        )

    def deliver(self, worker: Record, batch: Batch, outputs: Sequence[tuple[int, Output]]) -> None:
        """Take over what a worker has finished of a batch, by row; what another finished before is dropped."""
        with self._changed:
            now = time.monotonic()
            self._longest_wait, batch.heard = max(self._longest_wait, now - batch.heard), now
            new = [(row, output) for row, output in outputs if row in self._left]
            self._left.difference_update(row for row, _ in new)
            batch.rows = [row for row in batch.rows if row in self._left]
            worker.rows += len(new)
            if new:
                self.finished.put(new)

    def end(self, worker: Record, batch: Batch) -> set[Record]:
        """Note that a worker is through with a batch, and count against those it got the better of.

        Returns those who are still at it, in vain.
        """
        with self._changed:
            self._busy.discard(worker)
            worker.proven, worker.strikes = True, 0
            if batch.settled:
                return set()
            for other in {*batch.failed, *batch.holders} - {worker}:
                other.strikes += 1
                if other.strikes >= STRIKES and other.set_aside is None:
                    other.put_aside(f"it failed {STRIKES} times in a row on what others then finished")
            self._settle(batch)
            return batch.holders - {worker}

    def fail(self, worker: Record, batch: Batch, error: Exception) -> None:
        """Note that a worker failed on a batch."""
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

    def give_up(self, worker: Record, batch: Batch, reason: str) -> None:
        """Set a worker aside that cannot be started, and hand back what it had."""
        with self._changed:
            self._busy.discard(worker)
            worker.put_aside(reason)
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
        """Note that a worker takes no more; with the last of them, the pass is over."""
        with self._changed:
            self._present -= 1
            if not self._present and self._unsettled:
                self.finished.put(None)

    def close(self) -> set[Record]:
        """Hand out nothing any more; return the workers that are still at something."""
        with self._changed:
            for batch in [*self._waiting, *self._running]:
                batch.settled = True
            self._waiting.clear()
            self._unsettled = 0
            self._changed.notify_all()
            return self._busy.copy()
