"""Measures where the main thread's time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Phase = Literal["load_model", "read", "tokenize", "generate", "detokenize", "write"]


class Phases:
    """Seconds that the main thread spends or waits in each phase since this clock was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = dict.fromkeys(get_args(Phase), 0.0)

    @contextmanager
    def __call__(self, phase: Phase) -> Iterator[None]:
        """Count the time inside the block to a phase. Phases do not nest."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] += time.perf_counter() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time inside the block, but for that of phases in it."""
        started, counted = time.perf_counter(), sum(self._seconds.values())
        try:
            yield
        finally:
            self._started += time.perf_counter() - started - (sum(self._seconds.values()) - counted)

    def total(self) -> float:
        """Return the seconds since this clock was made."""
        return time.perf_counter() - self._started

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase, and `other`: the rest of the total."""
        return self._seconds | {"other": self.total() - sum(self._seconds.values())}
