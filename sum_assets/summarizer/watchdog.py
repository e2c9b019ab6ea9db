"""The watchdog: ends the process if its engine hangs, since a hung call cannot be interrupted otherwise."""

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds without a finished batch after which an engine counts as hung: far more than a batch takes on a slow device,
#: or than it takes to notice that a worker process hangs and to start another.
HANG_LIMIT = 3600.0


@contextmanager
def watchdog(on_hang: Callable[[], object]) -> Iterator[None]:
    """If the block takes longer than the limit, log stack traces, call `on_hang` and end the process with code 1."""
    timer = threading.Timer(HANG_LIMIT, _end, [on_hang])
    timer.daemon = True
    timer.start()
    # If the engine blocks the interpreter, `on_hang` cannot run, and the next process hangs on the same batch.
    faulthandler.dump_traceback_later(HANG_LIMIT + 60, exit=True, file=2)
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


def _end(on_hang: Callable[[], object]) -> None:
    try:
        faulthandler.dump_traceback(file=2)
        message = f"The engine finished nothing for {HANG_LIMIT:.0f} s: it hangs. This process ends. Run it again: "
        os.write(
            2, f"{message}the abstracts on which it may have hung are then tried last, in small groups.\n".encode()
        )
        on_hang()
    finally:
        os._exit(1)
