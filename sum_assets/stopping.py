"""Lets a run be stopped between two batches: by a signal, or by a deadline."""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import FrameType

from sum_assets.errors import UserError

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
#: Who stops a tree of processes (Ray, systemd, Ctrl-C) signals the step, and Dagster, signalled too, signals it again.
_ONE_WISH = 2.0


def deadline(text: str, launched: datetime) -> datetime:
    """Return the moment that `07:00` or an ISO date and time names, in local time unless it says otherwise.

    A time of day is the first one after the launch, so that a run which had to wait beyond it starts nothing.
    Raises UserError where the text names no moment.
    """
    launched = launched.astimezone()
    if match := _TIME.fullmatch(text.strip()):
        at = launched.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return at if at > launched else at + timedelta(days=1)
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise UserError(f"stop_at {text!r} is no time: write 07:00, or 2030-12-31T07:00.") from None


class Stop:
    """Whether to stop, and why; see `stop_between_batches`."""

    def __init__(self, at: datetime | None) -> None:
        # By the clock that nobody sets.
        self._at = at
        self._left = time.monotonic() + (at - datetime.now().astimezone()).total_seconds() if at else None
        self.signal: int | None = None

    def __call__(self) -> str | None:
        """Return why to stop, None to go on."""
        if self.signal is not None:
            return f"by {signal.Signals(self.signal).name}"
        if self._at and self._left is not None and time.monotonic() >= self._left:
            return f"at its deadline {self._at:%Y-%m-%d %H:%M}"
        return None


@contextmanager
def stop_between_batches(at: datetime | None) -> Iterator[Stop]:
    """Take a first SIGINT or SIGTERM as a wish to stop after the batch in flight; a later one is as it was before.

    Later means by more than two seconds: what comes together is one wish.
    Where the block ends all the same without an error, the signal is passed on: who sent it expects the process
    to heed it.
    """
    stop = Stop(at)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    first = 0.0

    def heed(number: int, _: FrameType | None) -> None:
        nonlocal first
        if stop.signal is None:
            stop.signal, first = number, time.monotonic()
        elif time.monotonic() - first > _ONE_WISH:
            restore()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, heed)
    try:
        yield stop
    finally:
        restore()
    if stop.signal is not None:
        signal.raise_signal(stop.signal)
