"""Generates the next batch while the last one is turned into text and handed on."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from sum_assets.summarizer.watchdog import watchdog

T = TypeVar("T")


def look_ahead(results: Iterator[T], thread: ThreadPoolExecutor) -> Iterator[T]:
    """Yield what `results` yields, whose next item a thread fetches meanwhile. It waits for that thread at its end.

    cuDNN's plans for attention are a thread's own, so callers keep one thread.
    """
    begun = threading.Semaphore(0)

    def fetch() -> T | None:
        begun.release()
        return next(results, None)

    def start() -> "Future[T | None]":
        fetched = thread.submit(fetch)
        begun.acquire()  # else this thread keeps the interpreter while it works on an item
        return fetched

    fetched = start()
    try:
        while (item := fetched.result()) is not None:
            fetched = start()
            yield item
    finally:
        with watchdog(lambda: None):  # the engine may hang while nobody asks for its results
            wait([fetched])
