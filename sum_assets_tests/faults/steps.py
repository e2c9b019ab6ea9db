"""Cases in which each step has a process of its own, as in runs that the UI launches."""

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
from sum_assets_tests.faults.arena import BATCH, FIRST, LEAD, Arena, Tally
from sum_assets_tests.faults.cases import PAUSE, case, check

#: Where a step notes its process, and that it lost its device.
DEVICE = "SUM_ASSETS_TESTS_DEVICE"


def job() -> dg.JobDefinition:
    """Return the job as each step process sees it: slowed, and with a device that is lost once, if so wished."""
    _patch()
    return defs.resolve_job_def("summarize_corpus")


@cache
def _patch() -> None:
    """Once in each process, though Dagster asks for the job more than once."""
    patches.count_and_slow(PAUSE)
    if DEVICE in os.environ:
        _lose_device_once(Path(os.environ[DEVICE]))


def _lose_device_once(note: Path) -> None:
    from sum_assets.summarizer.engines.lead_engine import LeadEngine

    real: Any = LeadEngine.summarize

    def summarize(engine: Any, abstracts: Any, phases: Phases) -> Iterator[list[Summary | Rejection]]:
        before = note.read_text().split() if note.exists() else []
        with note.open("a") as file:
            file.write(f"{os.getpid()}\n")
        for number, finished in enumerate(real(engine, abstracts, phases)):
            if str(os.getpid()) in before or (not before and number == 3):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            yield finished

    replaced: Any = LeadEngine
    replaced.summarize = summarize


def execute() -> None:
    """Run the job for the first range, each step in a process of its own."""
    with open_instance() as instance:
        tags = {"dagster/partition": FIRST.key}
        result = dg.execute_job(dg.reconstructable(job), instance, run_config=LEAD, tags=tags)
        sys.exit(0 if result.success else 1)


@case("SIGKILL of the step at a random moment")
def kill_the_step(arena: Arena, seed: int) -> Tally:
    """The run goes on by itself: the step is retried in a fresh process."""
    run = arena.execute(execute)
    arena.wait_for_rows(random.Random(seed).randint(1, 30), run)
    for child in psutil.Process(run.pid).children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
    assert run.wait(120) == 0, run.said[-3000:]
    arena.finish()
    return check(arena.tally(), BATCH)


@case("a device that is lost")
def lose_the_device(arena: Arena, seed: int) -> Tally:
    """A fresh process retries; the old one touches the device no more."""
    note = arena.folder / "processes"
    run = arena.execute(execute, **{DEVICE: str(note)})
    assert run.wait(120) == 0, run.said[-3000:]
    assert len(set(note.read_text().split())) == len(note.read_text().split()) == 2
    assert "The device is lost to this process: RuntimeError: CUDA error" in run.said
    arena.finish()
    return check(arena.tally(), BATCH)
