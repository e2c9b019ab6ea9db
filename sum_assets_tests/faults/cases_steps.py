"""Cases in which each step runs in its own process, as in runs that the UI launches."""

import os
import random
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import open_instance
from sum_assets.summarizer import Phases, Rejection, Summary
from sum_assets_tests.faults import patches
from sum_assets_tests.faults.cases import PAUSE, UNCOMMITTED, case, check
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, Tally
from sum_assets_tests.faults.server import FIRST

#: The file in which each step process notes its ID. If it is set, the first of them loses its device.
DEVICE = "SUM_ASSETS_TESTS_DEVICE"


def job() -> dg.JobDefinition:
    """Return the job for each step process: slowed, and with a device that is lost once if `DEVICE` is set."""
    _patch()
    return defs.resolve_job_def("summarize_corpus")


@cache
def _patch() -> None:
    """Patch once in each process, though Dagster asks for the job more than once."""
    patches.count_and_slow(PAUSE)
    if DEVICE in os.environ:
        _lose_device_once(Path(os.environ[DEVICE]))


def _lose_device_once(note: Path) -> None:
    from sum_assets.summarizer.engines.lead_engine import LeadEngine

    real: Any = LeadEngine.summarize

    def summarize(engine: Any, abstracts: Any, phases: Phases) -> Iterator[list[Summary | Rejection]]:
        earlier = note.read_text().split() if note.exists() else []
        with note.open("a") as file:
            file.write(f"{os.getpid()}\n")
        for number, finished in enumerate(real(engine, abstracts, phases)):
            if str(os.getpid()) in earlier or (not earlier and number == 3):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            yield finished

    replaced: Any = LeadEngine
    replaced.summarize = summarize


def execute() -> None:
    """Run the job for the first range, each step in its own process."""
    with open_instance() as instance:
        tags = {"dagster/partition": FIRST.key}
        result = dg.execute_job(dg.reconstructable(job), instance, run_config=LEAD, tags=tags)
        sys.exit(0 if result.success else 1)


@case("SIGKILL of the step at a random moment")
def kill_the_step(sandbox: Sandbox, seed: int) -> Tally:
    """The run continues by itself: Dagster retries the step in a new process."""
    run = sandbox.execute(execute)
    sandbox.wait_for_rows(random.Random(seed).randint(1, 30), run)
    for child in psutil.Process(run.pid).children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
    assert run.wait(120) == 0, run.output[-3000:]
    sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


@case("a device that is lost")
def lose_the_device(sandbox: Sandbox, seed: int) -> Tally:
    """A new process retries. The old one does not touch the device again."""
    note = sandbox.folder / "processes"
    run = sandbox.execute(execute, **{DEVICE: str(note)})
    assert run.wait(120) == 0, run.output[-3000:]
    assert len(set(note.read_text().split())) == len(note.read_text().split()) == 2
    assert "The device is lost to this process: RuntimeError: CUDA error" in run.output
    sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)
