"""Runs cases in child processes with time limits, so that a crash or a hang ends one case alone."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sum_assets_tests.evidence.prove_gpu.case import Case, Machine, Result

_ROOT = Path(__file__).parents[3]
#: Seconds below which no case is begun: a process needs longer to import torch.
_LEAST = 10.0


class Runner:
    """Runs cases one after the other until the budget, in seconds from now, is spent.

    Cases share a process until one fails or wants one of its own. `log` gets what processes write.
    """

    def __init__(self, machine: Machine, budget: float, log: Path) -> None:
        self.machine, self._log = machine, log
        self._deadline = time.monotonic() + budget
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def run(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Result, float]]:
        """Yield each case with its result and its seconds."""
        for case in cases:
            began = time.monotonic()
            result = self._run(case)
            if case.alone or result.outcome == "failed":  # a GPU may be lost to a process in which something failed
                self.close()
            yield case, result, time.monotonic() - began

    def _run(self, case: Case) -> Result:
        left = self._deadline - time.monotonic()
        if left < _LEAST:
            return Result("left out", "the time budget was spent")
        if case.alone:
            self.close()
        process = self._process or self._start()
        task = {"machine": asdict(self.machine), "case": asdict(case)}
        with suppress(BrokenPipeError):
            assert process.stdin
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        try:
            line = self._answers.get(timeout=min(case.limit, left))
        except queue.Empty:
            self.close()
            if left < case.limit:
                return Result("left out", f"the time budget ended it after {left:.0f} s")
            if case.may_be_slow:
                return Result("left out", f"it takes longer than {case.limit:.0f} s here")
            return Result("failed", f"no answer in {case.limit:.0f} s, so it was killed")
        if line:
            answer: dict[str, Any] = json.loads(line)
            return Result(**answer)
        code = process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Result("failed", f"its process ended with {how}; the end of {self._log} says more")

    def _start(self) -> subprocess.Popen[str]:
        paths = filter(None, [os.environ.get("PYTHONPATH"), str(_ROOT)])
        variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TRANSFORMERS_VERBOSITY": "error"}
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=variables,
                start_new_session=True,  # so that its own children end with it
            )
        answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read, args=[process, answers], daemon=True).start()
        self._process, self._answers = process, answers
        return process

    def close(self) -> None:
        """Kill the process and its children, whatever they are doing."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def _read(process: "subprocess.Popen[str]", answers: "queue.Queue[str]") -> None:
    """Put each line of a process into a queue, and an empty text when it ends."""
    assert process.stdout
    for line in process.stdout:
        answers.put(line)
    answers.put("")
