"""Stops a run between two batches, by a signal or at a deadline."""

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
#: Signals within so many seconds count as one request. What stops a tree of processes (Ray, systemd, Ctrl-C) signals
#: Dagster and the step, and Dagster then signals the step again.
_SAME_REQUEST_SECONDS = 2.0


def deadline(text: str, launched: datetime) -> datetime:
    """Parse `07:00` or an ISO date and time, in local time unless it has an offset.

    A time of day means the next one after the launch: a run that waited in the queue beyond it generates nothing.
    Raises UserError if the text is neither.
    """
    launched = launched.astimezone()
    if match := _TIME.fullmatch(text.strip()):
        at = launched.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return at if at > launched else at + timedelta(days=1)
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise UserError(f"stop_at {text!r} is not a valid time. Write 07:00, or 2030-12-31T07:00.") from None


class Stop:
    """Decides whether to stop; see `stop_between_batches`."""

    def __init__(self, at: datetime | None) -> None:
        self._at = at
        # On the monotonic clock, which changes of the system's time do not affect.
        self._deadline = time.monotonic() + (at - datetime.now().astimezone()).total_seconds() if at else None
        self.signal: int | None = None

    def __call__(self) -> str | None:
        """Return the reason to stop, or None to go on."""
        if self.signal is not None:
            return f"by {signal.Signals(self.signal).name}"
        if self._at and self._deadline is not None and time.monotonic() >= self._deadline:
            return f"at its deadline {self._at:%Y-%m-%d %H:%M}"
        return None


@contextmanager
def stop_between_batches(at: datetime | None) -> Iterator[Stop]:
    """Treat the first SIGINT or SIGTERM as a request to stop after the batch in flight.

    Signals in the two seconds after it belong to the same request. Any later signal acts as it did before the block.
    If the block ends without an error all the same, the first signal is raised again at its end, since its sender
    expects the process to obey.
    """
    stop = Stop(at)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    requested_at = 0.0

    def request_stop(number: int, _: FrameType | None) -> None:
        nonlocal requested_at
        if stop.signal is None:
            stop.signal, requested_at = number, time.monotonic()
        elif time.monotonic() - requested_at > _SAME_REQUEST_SECONDS:
            restore()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()
    if stop.signal is not None:
        signal.raise_signal(stop.signal)
