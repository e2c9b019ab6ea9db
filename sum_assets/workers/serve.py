"""Serves one model with an engine's library: `python serve.py ENGINE`, JSON lines in and out."""

import json
import os
import sys
from importlib import import_module


def serve(engine: str) -> int:
    """Answer one line of settings, then one line of prompts after another, until the input ends.

    `load(settings)` of the engine's module returns the device's name, a function that yields what it finishes, and
    one that tells the device's peak memory, if it knows. A ValueError's text is meant for the user.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to stderr

    def answer(**message: object) -> None:
        print(json.dumps(message), file=out, flush=True)

    first = sys.stdin.readline()
    if not first:
        return 0
    try:
        device_name, generate, peak = import_module(f"{engine}_worker").load(json.loads(first))
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
            answer(error=f"{type(error).__name__}: {error}")
            return 1
        answer(end={"peak_device_bytes": peak()})
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1]))
