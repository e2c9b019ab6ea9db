"""Cases of an engine that runs out of memory, fails, hangs, or loses its worker."""

import random
import time

import psutil

from sum_assets_tests.faults import patches
from sum_assets_tests.faults.cases import UNCOMMITTED, Case, case, check, copier
from sum_assets_tests.faults.sandbox import Sandbox, Tally
from sum_assets_tests.faults.server import FIRST, text


@case("SIGKILL of the worker at a random moment")
def kill_the_worker(sandbox: Sandbox, seed: int) -> Tally:
    config = copier(sandbox, engine="openvino")

    def patch() -> None:
        patches.copying_worker(sandbox.folder)

    run = sandbox.start(config=config, patch=patch)
    sandbox.wait_for_rows(4, run)
    time.sleep(random.Random(seed).uniform(0, 1))
    for worker in psutil.Process(run.pid).children(recursive=True):
        worker.kill()
    assert run.wait() == 0, run.output[-3000:]
    return check(sandbox.tally(config, patch=patch), UNCOMMITTED)


@case("out of memory in batches")
def out_of_memory(sandbox: Sandbox, seed: int) -> Tally:
    config = copier(sandbox)
    run = sandbox.run(config=config, patch=lambda: patches.batches_fit(1 + seed % 3))
    assert run.process.exitcode == 0, run.output[-3000:]
    return check(sandbox.tally(config), 0)


def _row_fails(how: str) -> Case:
    def fail(sandbox: Sandbox, seed: int) -> Tally:
        bad = random.Random(seed).choice([i for i in range(1, 97) if text(i)])
        while not (text(bad) or "").strip():
            bad += 1
        run = sandbox.run(patch=lambda: patches.engine_fails_on(bad, how))
        assert run.process.exitcode == 0, run.output[-3000:]
        return check(sandbox.tally(rejected=[bad]), 0)

    return fail


case("a row that makes the engine raise", short=True)(_row_fails("raise"))
case("a row that the engine returns nothing for")(_row_fails("leave out"))


@case("a row on which the engine hangs")
def row_hangs(sandbox: Sandbox, seed: int) -> Tally:
    """Each hang ends a process: first with all that is left, then with sixteen, then with one, which is rejected."""
    bad = random.Random(seed).choice([i for i in range(1, 49) if (text(i) or "").strip()])
    hangs = 0
    while (run := sandbox.run(FIRST.key, patch=lambda: patches.engine_hangs_on(bad))).process.exitcode:
        assert "The engine finished nothing for 1 s" in run.output, run.output[-3000:]
        hangs += 1
    assert 2 <= hangs <= 3
    sandbox.finish(patch=lambda: patches.engine_hangs_on(bad))
    assert sandbox.sql("SELECT count(*) FROM sum_assets.engine_hang") == [(0,)]
    return check(sandbox.tally(rejected=[bad]), 0)


def _row_ends_the_worker(how: str) -> Case:
    def end(sandbox: Sandbox, seed: int) -> Tally:
        config = copier(sandbox, engine="openvino")
        words = 60  # no other abstract has as many
        edits = f"UPDATE article SET body = repeat('bale ', {words}) WHERE id = 40"
        sandbox.sql(edits)
        run = sandbox.run(config=config, patch=lambda: patches.copying_worker(sandbox.folder, words + 1, how))
        assert run.process.exitcode == 0, run.output[-3000:]
        return sandbox.tally(config, edits, [40], patch=lambda: patches.copying_worker(sandbox.folder))

    return end


case("a row that kills the worker")(_row_ends_the_worker("kill"))
case("a row on which the worker hangs")(_row_ends_the_worker("hang"))
