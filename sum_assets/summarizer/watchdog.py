"""Ends the process of an engine that hangs: what hangs inside of it cannot be stopped in any other way."""

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds without anything finished after which an engine is held to hang: far beyond what a batch takes on a slow
#: device, and what it takes to find that a worker process hangs and to start another.
HANG_LIMIT = 3600.0


@contextmanager
def watched(note: Callable[[], object]) -> Iterator[None]:
    """Note it, show where each thread is, and end the process, unless the block ends within the limit."""
    timer = threading.Timer(HANG_LIMIT, _end, [note])
    timer.daemon = True
    timer.start()
    # Where the engine keeps Python itself from running, there is no note: the next process hangs as this one did.
    faulthandler.dump_traceback_later(HANG_LIMIT + 60, exit=True, file=2)
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


def _end(note: Callable[[], object]) -> None:
    try:
        faulthandler.dump_traceback(file=2)
        said = f"The engine finished nothing for {HANG_LIMIT:.0f} s and is held to hang. This process ends; run it "
        os.write(2, f"{said}again: what it hung on is tried apart.\n".encode())
        note()
    finally:
        os._exit(1)
