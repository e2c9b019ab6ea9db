"""Reads what an engine gets next beside its work, so that the device waits for no database and no tokenizer."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

#: Rows read at once. The engine waits for the first of them; after that it gets as many as are ready.
CHUNK = 512
#: Rows handed to the engine at once, at most: enough to sort by length, few enough to hold in memory.
WINDOW = 4096


class ReadAhead(Generic[T]):
    """Reads chunks of IDs with `read`, in a thread of its own and in their order.

    `chunks` yields the IDs, and whether their rows may share a window with others. An error of `read` is raised by
    `next_window`. At the end of the block, what has not been read yet is left.
    """

    def __init__(self, chunks: Iterator[tuple[Sequence[int], bool]], read: Callable[[Sequence[int]], list[T]]) -> None:
        self._chunks, self._read = chunks, read
        self._pool = ThreadPoolExecutor(1, "read")
        self._ahead: deque[tuple[bool, Future[list[T]]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start(self, chunks: int = WINDOW // CHUNK) -> None:
        """Have up to so many chunks read ahead."""
        for ids, shares in islice(self._chunks, max(0, chunks - len(self._ahead))):
            self._ahead.append((shares, self._pool.submit(self._read, ids)))

    def next_window(self) -> list[T] | None:
        """Wait for the next chunk, and return its rows with those that are ready after it. None at the end."""
        self.start(1)
        if not self._ahead:
            return None
        shares, read = self._ahead.popleft()
        rows = read.result()
        while shares and self._ahead and self._ahead[0][0] and self._ahead[0][1].done():
            rows += self._ahead.popleft()[1].result()
        return rows
