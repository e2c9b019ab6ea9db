"""Runs cases, one line of JSON each, and answers each with one: `python -m …prove_gpu.child`."""

import gc
import json
import os
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import Any

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.device_errors import describe_error
from sum_assets_tests.evidence.prove_gpu.case import Case, Machine, Result


def run(machine: Machine, case: Case) -> Result:
    """Return what became of a case. What it raises is a failure; what the machine cannot do is left out."""
    module, _, function = case.function.partition(":")
    try:
        call: Any = getattr(import_module(module, __package__), function)
        result: Result = call(machine, **case.arguments)
        return result
    except UnsupportedError as error:
        return Result("left out", str(error))
    except Exception as error:
        traceback.print_exc()
        return Result("failed", describe_error(error))
    finally:
        _free_memory()


def _free_memory() -> None:
    """Give memory back to the device: the next case may be in another process."""
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # the device may be lost
            torch.cuda.empty_cache()


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    threading.Thread(target=_exit_with, args=[os.getppid()], daemon=True).start()
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        task = json.loads(line)
        result = run(Machine(**task["machine"]), Case(**task["case"]))
        print(json.dumps(asdict(result)), file=answers, flush=True)


def _exit_with(parent: int) -> None:
    """End this process when its parent is gone, so that it does not hold the device."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
