"""Generates the next batch while the last one is turned into text and handed on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from sum_assets.summarizer.watchdog import watchdog

T = TypeVar("T")


def look_ahead(results: Iterator[T]) -> Iterator[T]:
    """Yield what `results` yields, whose next item a thread fetches meanwhile. It waits for that thread at its end."""
    with ThreadPoolExecutor(1, "generate") as thread:
        fetched = thread.submit(next, results, None)
        try:
            while (item := fetched.result()) is not None:
                fetched = thread.submit(next, results, None)
                yield item
        finally:
            with watchdog(lambda: None):  # the engine may hang while nobody asks for its results
                wait([fetched])
