"""Commits results beside their generation, by time and count, so that the device waits for no database."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

#: A commit holds at most so many rows, or those of so many seconds: what a kill costs beside the batch in flight.
COMMIT_ROWS = 2000
COMMIT_SECONDS = 2.0


class CommitQueue(Generic[T]):
    """Hands rows to `commit` from a thread of its own, in the order in which they came.

    At the end of its block, whatever ended it, what it was given is committed. An error of `commit` is raised from the
    next call, or from the end of the block; nothing is committed after it.
    """

    def __init__(self, commit: Callable[[Sequence[T]], object]) -> None:
        self._commit = commit
        self._changed = threading.Condition()
        self._waiting: list[T] = []
        self._since = 0.0
        self._committing = False
        self._closed = False
        self._error: BaseException | None = None
        #: Seconds that the thread was busy.
        self.busy = 0.0
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, rows: Sequence[T]) -> None:
        """Commit rows soon. Waits only where the last commit takes so long that another is due."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or not (self._committing and self._is_due()))
            self._raise()
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.extend(rows)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all rows are committed."""
        with self._changed:
            self._since = -COMMIT_SECONDS
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._error or not (self._waiting or self._committing))
            self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        if self._error:
            raise self._error

    def _run(self) -> None:
        while rows := self._due():
            started = time.perf_counter()
            try:
                self._commit(rows)
            except BaseException as error:  # whoever calls next is to have it
                self._error = error
            self.busy += time.perf_counter() - started
            with self._changed:
                self._committing = False
                self._changed.notify_all()
            if self._error:
                return

    def _is_due(self) -> bool:
        enough = len(self._waiting) >= COMMIT_ROWS
        return enough or (bool(self._waiting) and time.monotonic() >= self._since + COMMIT_SECONDS)

    def _due(self) -> list[T]:
        """Wait for rows that are to be committed, and take them; none at the end."""
        with self._changed:
            while not (self._is_due() or self._closed):
                self._changed.wait(self._since + COMMIT_SECONDS - time.monotonic() if self._waiting else None)
            rows, self._waiting = self._waiting[:COMMIT_ROWS], self._waiting[COMMIT_ROWS:]
            self._committing = bool(rows)
            self._changed.notify_all()
            return rows
