"""Runs a command line of the product in its own process."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import sum_assets.summarizer.engines.transformers_engine  # noqa: F401  (so that no run has to import it)
from sum_assets.cli import main as cli

Patch = Callable[[], object]


class Run:
    """A command line in its own process, forked from this one, which has imported everything already."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], log: Path, patch: Patch, main: Patch = cli.main
    ) -> None:
        self._log = log
        self.process = multiprocessing.get_context("fork").Process(
            target=_command_line, args=(arguments, environment, log, patch, main)
        )
        self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    @property
    def output(self) -> str:
        """What the run has printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def signal(self, number: int) -> None:
        """Send a signal to the run alone. SIGKILL goes to its process group too, which may not exist yet."""
        for send in (os.killpg, os.kill) if number == signal.SIGKILL else (os.kill,):
            with contextlib.suppress(ProcessLookupError):
                send(self.pid, number)

    def wait(self, seconds: float = 90) -> int:
        """Wait for the run, and return its exit code. Raises AssertionError if it takes longer."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.signal(signal.SIGKILL)
            self.process.join()
            raise AssertionError(f"it hangs: {self.output[-2000:]}")
        return self.process.exitcode


def _command_line(arguments: Sequence[str], environment: dict[str, str], log: Path, patch: Patch, main: Patch) -> None:
    os.setsid()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 1
    try:
        patch()
        sys.argv = ["sum-assets", *arguments]
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    os._exit(code)
