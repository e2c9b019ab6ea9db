"""Cases with two workers: processes of this host, or actors on a Ray cluster of two nodes.

What was generated again is counted by the workers, who note what they begin: more than what the engine hands over.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from sum_assets.summarizer.parallel import scheduler
from sum_assets_tests.faults import patches, slow_worker
from sum_assets_tests.faults.arena import BATCH, NOTHING, Arena, Patch, Run, Tally
from sum_assets_tests.faults.cases import case, check, copier, wait_until

WORKERS = 2


def _slow() -> None:
    patches.worker_engine.program = lambda _: Path(slow_worker.__file__)


def _slow_and_impatient() -> None:
    _slow()
    scheduler.STRAGGLER_TIMEOUT = 2.0


def _slow_on_ray() -> None:
    # Only the run imports Ray, not the process that it is forked from.
    from sum_assets.summarizer import ray_devices
    from sum_assets.summarizer.parallel import ray_worker
    from sum_assets_tests.faults.ray_nodes import SlowActor

    replaced: Any = ray_worker
    replaced.Actor = SlowActor
    ray_devices.PLACEMENT_TIMEOUT = 20.0
    scheduler.STRAGGLER_TIMEOUT = 2.0


def _begun(arena: Arena) -> Path:
    return arena.folder / "begun"


def _start_two(arena: Arena, patch: Patch = _slow) -> Run:
    os.environ[slow_worker.BEGUN] = str(_begun(arena))
    return arena.start(config=copier(arena, workers_per_device=WORKERS), patch=patch)


def _processes(run: Run) -> list[psutil.Process]:
    """Return the workers of a run, which are at work."""
    return [p for p in psutil.Process(run.pid).children() if "slow_worker.py" in " ".join(p.cmdline())]


def _reach_the_middle(arena: Arena, run: Run, seed: int) -> None:
    """Wait for a random moment in the middle of one of the ranges, when both workers are at a batch."""
    dice = random.Random(seed)
    arena.wait_for_rows(dice.choice([0, 48]) + dice.randint(8, 28), run)
    time.sleep(dice.uniform(0, 0.3))


def _tally(arena: Arena, again: int) -> Tally:
    """Hold the tables against those of a run with one worker, which is the step itself."""
    begun = Counter(_begun(arena).read_text().splitlines())
    assert len(begun) == 96 - len(NOTHING), "not all workers were slowed"
    tally = arena.tally(copier(arena))
    return check(replace(tally, generated_again=begun.total() - len(begun)), again)


@case("SIGKILL of one of two workers at a random moment")
def kill_one_worker(arena: Arena, seed: int) -> Tally:
    """The run goes on by itself; its batch goes to the other, and it is started again."""
    run = _start_two(arena)
    _reach_the_middle(arena, run, seed)
    random.Random(seed).choice(_processes(run)).kill()
    assert run.wait(180) == 0, run.said[-3000:]
    assert run.said.count("ended with SIGKILL") == 1, run.said[-3000:]
    return _tally(arena, BATCH)


@case("SIGKILL of both workers at once")
def kill_both_workers(arena: Arena, seed: int) -> Tally:
    """The run goes on by itself, with fresh ones."""
    run = _start_two(arena)
    _reach_the_middle(arena, run, seed)
    killed = _processes(run)
    for process in killed:
        process.kill()
    assert run.wait(180) == 0, run.said[-3000:]
    assert len(killed) == run.said.count("ended with SIGKILL") == WORKERS, run.said[-3000:]
    return _tally(arena, WORKERS * BATCH)


@case("SIGKILL of a run with two workers")
def kill_the_run_of_two(arena: Arena, seed: int) -> Tally:
    """No worker outlives it for long; each costs what it is at, and what it had done but was not committed."""
    run = _start_two(arena)
    _reach_the_middle(arena, run, seed)
    _kill_above(run, _processes(run), 5)
    arena.finish(config=copier(arena, workers_per_device=WORKERS), patch=_slow)
    return _tally(arena, WORKERS * 2 * BATCH)


def _kill_above(run: Run, workers: list[psutil.Process], seconds: float) -> None:
    """Kill a run alone; its workers must end by themselves."""
    assert len(workers) == WORKERS
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    wait_until(lambda: not any(map(_lives, workers)), seconds, "the end of the workers")


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@case("one of two workers stopped for good")
def stop_one_worker(arena: Arena, seed: int) -> Tally:
    """The other does its batch as well, and it is replaced, long before it is held to hang.

    Its replacement loads for longer than the patience here, so that the other may do its first batch as well.
    """
    run = _start_two(arena, _slow_and_impatient)
    _reach_the_middle(arena, run, seed)
    stopped = random.Random(seed).choice(_processes(run))
    stopped.suspend()
    assert run.wait(180) == 0, run.said[-3000:]
    assert not _lives(stopped)
    return _tally(arena, 2 * BATCH)


@contextmanager
def _ray_nodes(arena: Arena) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """Start a cluster; give its process and the configuration of a run on it."""
    os.environ[slow_worker.BEGUN] = str(_begun(arena))
    environment = os.environ | arena.environment | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "sum_assets_tests.faults.ray_nodes", str(arena.folder)]
    with (arena.folder / "ray.log").open("wb") as log:
        nodes = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert nodes.stdout
        address = nodes.stdout.readline().strip()
        assert address, (arena.folder / "ray.log").read_text()[-3000:]
        yield nodes, copier(arena, ray_address=address)
    finally:
        nodes.terminate()
        nodes.communicate(timeout=60)


@case("a node of a Ray cluster killed during a run")
def lose_a_node(arena: Arena, seed: int) -> Tally:
    """The run goes on by itself with the node that is left, and begins its second range without the other."""
    with _ray_nodes(arena) as (nodes, config):
        run = arena.start(config=config, patch=_slow_on_ray)
        _reach_the_middle(arena, run, seed)
        assert nodes.stdin
        assert nodes.stdout
        nodes.stdin.write("kill\n")
        nodes.stdin.flush()
        assert nodes.stdout.readline() == "killed\n"
        assert run.wait(240) == 0, run.said[-5000:]
    return _tally(arena, BATCH)


@case("SIGKILL of a run on a Ray cluster")
def kill_the_run_on_ray(arena: Arena, seed: int) -> Tally:
    """Ray ends its actors; the next run gets their places."""
    with _ray_nodes(arena) as (nodes, config):
        run = arena.start(config=config, patch=_slow_on_ray)
        _reach_the_middle(arena, run, seed)
        _kill_above(run, _actors(nodes), 15)
        arena.finish(config=config, patch=_slow_on_ray)
    return _tally(arena, WORKERS * 2 * BATCH)


def _actors(nodes: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the processes of a cluster that are our actors, by the names that Ray gives them."""
    found = []
    for process in psutil.Process(nodes.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(part.startswith("ray::SlowActor") for part in process.cmdline()):
                found.append(process)
    return found
