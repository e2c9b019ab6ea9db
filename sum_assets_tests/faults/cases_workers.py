"""Cases with two workers: processes of this host, or actors on a Ray cluster of two nodes.

The workers note each batch that they begin. This counts more repetitions than the outputs of the engine would.
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

from sum_assets.summarizer.parallel import batch_scheduler as scheduler
from sum_assets_tests.faults import patches, slow_worker
from sum_assets_tests.faults.cases import UNCOMMITTED, case, check, copier, wait_until
from sum_assets_tests.faults.command import Patch, Run
from sum_assets_tests.faults.sandbox import BATCH, Sandbox, Tally
from sum_assets_tests.faults.server import NOTHING

WORKERS = 2


def _slow() -> None:
    patches.subprocess_engine.program = lambda _: Path(slow_worker.__file__)


def _slow_with_short_timeout() -> None:
    _slow()
    scheduler.STRAGGLER_TIMEOUT = 2.0


def _slow_on_ray() -> None:
    # Only the run imports Ray, not the process that it is forked from.
    from sum_assets.summarizer import ray_devices
    from sum_assets.summarizer.parallel import ray_worker
    from sum_assets_tests.faults.ray_nodes import SlowActor

    replaced: Any = ray_worker
    replaced.Actor = SlowActor
    ray_devices.PLACEMENT_TIMEOUT = 60.0  # two processes that import torch at once, on busy cores
    scheduler.STRAGGLER_TIMEOUT = 2.0


def _begun(sandbox: Sandbox) -> Path:
    return sandbox.folder / "begun"


def _start_two(sandbox: Sandbox, patch: Patch = _slow) -> Run:
    os.environ[slow_worker.BEGUN] = str(_begun(sandbox))
    return sandbox.start(config=copier(sandbox, workers_per_device=WORKERS), patch=patch)


def _processes(run: Run) -> list[psutil.Process]:
    """Return the worker processes of a run."""
    return [p for p in psutil.Process(run.pid).children() if "slow_worker.py" in " ".join(p.cmdline())]


def _reach_the_middle(sandbox: Sandbox, run: Run, seed: int) -> None:
    """Wait for a random moment in the middle of one of the ranges, when both workers are busy."""
    rng = random.Random(seed)
    sandbox.wait_for_rows(rng.choice([0, 48]) + rng.randint(8, 28), run)
    time.sleep(rng.uniform(0, 0.3))


def _tally(sandbox: Sandbox, again: int) -> Tally:
    """Compare the tables with those of a run that has no worker but the step itself."""
    begun = Counter(_begun(sandbox).read_text().splitlines())
    assert len(begun) == 96 - len(NOTHING), "not all workers were slowed"
    tally = sandbox.tally(copier(sandbox))
    return check(replace(tally, generated_again=begun.total() - len(begun)), again)


@case("SIGKILL of one of two workers at a random moment")
def kill_one_worker(sandbox: Sandbox, seed: int) -> Tally:
    """The run continues by itself. The batch goes to the other worker, and the killed one is restarted."""
    run = _start_two(sandbox)
    _reach_the_middle(sandbox, run, seed)
    random.Random(seed).choice(_processes(run)).kill()
    assert run.wait(180) == 0, run.output[-3000:]
    assert run.output.count("ended with SIGKILL") == 1, run.output[-3000:]
    return _tally(sandbox, UNCOMMITTED)


@case("SIGKILL of both workers at once")
def kill_both_workers(sandbox: Sandbox, seed: int) -> Tally:
    """The run continues by itself, with new workers."""
    run = _start_two(sandbox)
    _reach_the_middle(sandbox, run, seed)
    killed = _processes(run)
    for process in killed:
        process.kill()
    assert run.wait(180) == 0, run.output[-3000:]
    assert len(killed) == run.output.count("ended with SIGKILL") == WORKERS, run.output[-3000:]
    return _tally(sandbox, WORKERS * BATCH + UNCOMMITTED)


@case("SIGKILL of a run with two workers")
def kill_the_run_of_two(sandbox: Sandbox, seed: int) -> Tally:
    """No worker outlives the run for long. Each costs its batch in flight and one that was not committed."""
    run = _start_two(sandbox)
    _reach_the_middle(sandbox, run, seed)
    _kill_above(run, _processes(run), 5)
    sandbox.finish(config=copier(sandbox, workers_per_device=WORKERS), patch=_slow)
    return _tally(sandbox, WORKERS * 2 * BATCH + UNCOMMITTED)


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
def stop_one_worker(sandbox: Sandbox, seed: int) -> Tally:
    """The stopped worker becomes a straggler: the other repeats its batch, and it is replaced.

    The replacement loads for longer than the timeout here, so that the other may repeat its first batch too.
    """
    run = _start_two(sandbox, _slow_with_short_timeout)
    _reach_the_middle(sandbox, run, seed)
    stopped = random.Random(seed).choice(_processes(run))
    stopped.suspend()
    assert run.wait(180) == 0, run.output[-3000:]
    assert not _lives(stopped)
    return _tally(sandbox, BATCH + UNCOMMITTED)


@contextmanager
def _ray_nodes(sandbox: Sandbox) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """Start a cluster. Yield its process and the configuration of a run on it."""
    os.environ[slow_worker.BEGUN] = str(_begun(sandbox))
    environment = os.environ | sandbox.environment | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "sum_assets_tests.faults.ray_nodes", str(sandbox.folder)]
    with (sandbox.folder / "ray.log").open("wb") as log:
        nodes = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert nodes.stdout
        address = nodes.stdout.readline().strip()
        assert address, (sandbox.folder / "ray.log").read_text()[-3000:]
        yield nodes, copier(sandbox, ray_address=address)
    finally:
        nodes.terminate()
        nodes.communicate(timeout=60)


@case("a node of a Ray cluster killed during a run")
def lose_a_node(sandbox: Sandbox, seed: int) -> Tally:
    """The run continues by itself on the node that is left, and does its second range there."""
    with _ray_nodes(sandbox) as (nodes, config):
        run = sandbox.start(config=config, patch=_slow_on_ray)
        _reach_the_middle(sandbox, run, seed)
        assert nodes.stdin
        assert nodes.stdout
        nodes.stdin.write("kill\n")
        nodes.stdin.flush()
        assert nodes.stdout.readline() == "killed\n"
        assert run.wait(360) == 0, run.output[-5000:]
    return _tally(sandbox, UNCOMMITTED)


@case("SIGKILL of a run on a Ray cluster")
def kill_the_run_on_ray(sandbox: Sandbox, seed: int) -> Tally:
    """Ray ends the run's actors. The next run gets their resources."""
    with _ray_nodes(sandbox) as (nodes, config):
        run = sandbox.start(config=config, patch=_slow_on_ray)
        _reach_the_middle(sandbox, run, seed)
        _kill_above(run, _actors(nodes), 15)
        sandbox.finish(config=config, patch=_slow_on_ray)
    return _tally(sandbox, WORKERS * 2 * BATCH + UNCOMMITTED)


def _actors(nodes: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the actors' processes on a cluster, found by the names that Ray gives them."""
    actors = []
    for process in psutil.Process(nodes.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(part.startswith("ray::SlowActor") for part in process.cmdline()):
                actors.append(process)
    return actors
