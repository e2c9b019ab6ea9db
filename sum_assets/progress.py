"""How far a range is, and how often a run says so."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import psutil

#: Seconds between two lines in the log. Not more often: every line is an insert into Dagster's database.
LOG_EVERY = 30.0
#: Seconds between two observations of the asset.
OBSERVE_EVERY = 300.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a range is."""

    done: int
    total: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Abstracts per second since the range began."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds to the end at this rate."""
        return (self.total - self.done) / self.per_second if self.done else float("inf")

    def __str__(self) -> str:
        return (
            f"{self.done} of {self.total}, {self.per_second:.2f} abstracts/s, {self.seconds_left / 60:.0f} min left, "
            f"{psutil.Process().memory_info().rss / 2**30:.1f} GiB"
        )


_show: ContextVar[Callable[[Progress], object] | None] = ContextVar("show", default=None)


@contextmanager
def shown_by(show: Callable[[Progress], object]) -> Iterator[None]:
    """Have the runs of this block, in this process, report to `show` after each batch, as a terminal wants it."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)


class ProgressLog:
    """Passes progress on now and then: as a line to `log`, less often as it is to `observe`.

    Who asked with `shown_by` gets it at once.
    """

    def __init__(self, name: str, log: Callable[[str], object], observe: Callable[[Progress], object]) -> None:
        self._name, self._log, self._observe = name, log, observe
        self._logged = self._observed = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Take what a run reports after each batch."""
        if show := _show.get():
            show(progress)
        now = time.monotonic()
        if now - self._logged < LOG_EVERY:
            return
        self._logged = now
        self._log(f"{self._name}: {progress}")
        if now - self._observed >= OBSERVE_EVERY:
            self._observed = now
            self._observe(progress)
