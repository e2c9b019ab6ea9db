"""Serves one model with an engine's library: `python serve.py ENGINE`.

The worker reads and writes JSON lines. This module imports only the standard library, since it also runs in the
environments of other engines.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from importlib import import_module


def serve(engine: str) -> int:
    """Read one line of settings, then lines of prompts until the input ends, and answer each. Return the exit code.

    `load(settings)` of the engine's module returns the device's name, a function that yields outputs as they finish,
    and a function that returns the engine's state, such as `peak_device_bytes`. The message of a ValueError from
    `load` is shown to the user. An error while generating ends the process, unless the module has a function
    `survives(error)` that returns True.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the run handles them, and finishes the batch in flight
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def answer(**message: object) -> None:
        print(json.dumps(message), file=out, flush=True)

    first = sys.stdin.readline()
    if not first:
        return 0
    settings = json.loads(first)
    threading.Thread(target=_exit_with, args=[settings["parent"]], daemon=True).start()
    if settings["cores"]:
        # Otherwise libraries would bind the threads of every worker to the same first cores.
        os.sched_setaffinity(0, settings["cores"])
    try:
        module = import_module(f"{engine}_worker")
        device_name, generate, state = module.load(settings)
    except Exception as error:
        text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        answer(error=" ".join(text.split())[:1000])
        return 1
    answer(ready={"device_name": device_name})
    for line in sys.stdin:
        try:
            for done in generate(json.loads(line)["prompts"]):
                answer(done=done)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            if not getattr(module, "survives", lambda _: False)(error):
                answer(error=message)
                return 1
            answer(failed=message)
            continue
        answer(end=state() | {"peak_process_bytes": _peak_process_bytes()})
    return 0


def _peak_process_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _exit_with(parent: int) -> None:
    """End this process when its parent is gone, even in the middle of a batch, so that it does not hold the device."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1]))
