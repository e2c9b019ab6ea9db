"""Cases of a run that is killed, stopped, or not alone."""

import random
import signal
import time
from datetime import datetime, timedelta

from sum_assets_tests.faults import patches
from sum_assets_tests.faults.cases import PAUSE, UNCOMMITTED, Case, case, check, clear_failure, with_op
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, Tally
from sum_assets_tests.faults.server import FIRST, SECOND


@case("SIGKILL at a random moment", seeded=True, short=True)
def kill_the_run(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start(pause=PAUSE)
    time.sleep(random.Random(seed).uniform(0.2, 3.0))
    run.signal(signal.SIGKILL)
    run.wait()
    sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


def _kill_at(point: str) -> Case:
    def kill(sandbox: Sandbox, seed: int) -> Tally:
        number = random.Random(seed).randint(1, 8)
        run = sandbox.run(patch=lambda: patches.POINTS[point](number))
        assert run.process.exitcode == -signal.SIGKILL, run.output[-3000:]
        sandbox.finish()
        return check(sandbox.tally(), UNCOMMITTED)

    return kill


for _point in patches.POINTS:
    case(f"SIGKILL {_point}", short=_point in ("before the commit", "after the commit"))(_kill_at(_point))


@case("two runs on one range at once", short=True)
def two_at_once(sandbox: Sandbox, seed: int) -> Tally:
    first = sandbox.start_held(1 + seed % 12)
    second = sandbox.run(FIRST.key)
    sandbox.go()
    assert (second.process.exitcode, "is being worked on by run" in second.output) == (1, True), second.output[-3000:]
    assert first.wait() == 0, first.output[-3000:]
    return check(sandbox.tally(), 0)


@case("two runs begun together")
def begun_together(sandbox: Sandbox, seed: int) -> Tally:
    """Each does the ranges that the other has not taken, and says which it had to leave."""
    runs = [sandbox.start(pause=PAUSE), sandbox.start(pause=PAUSE)]
    for run in runs:
        assert run.wait() == 0 or "is being worked on by run" in run.output, run.output[-3000:]
    return check(sandbox.tally(), 0)


@case("a run of all ranges beside a run of one")
def all_beside_one(sandbox: Sandbox, seed: int) -> Tally:
    both = sandbox.start(pause=PAUSE)
    sandbox.wait_for_rows(4, both)
    one = sandbox.start(SECOND.key, pause=PAUSE)
    codes = [one.wait(), both.wait()]
    assert 0 in codes, one.output[-2000:] + both.output[-2000:]
    sandbox.finish()
    return check(sandbox.tally(), 0)


@case("SIGTERM")
def terminate(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start_held(random.Random(seed).randint(1, 11))  # of the twelve of the first range
    run.signal(signal.SIGTERM)
    sandbox.go()
    clear_failure(run, "Stopped by SIGTERM, with ")
    sandbox.finish()
    return check(sandbox.tally(), 0)


@case("a deadline", short=True)
def deadline(sandbox: Sandbox, seed: int) -> Tally:
    at = datetime.now() + timedelta(seconds=random.Random(seed).uniform(1.5, 2))
    run = sandbox.start(config=with_op(LEAD, stop_at=at.isoformat()), pause=0.4)
    clear_failure(run, "Stopped at its deadline")
    sandbox.finish()
    return check(sandbox.tally(), 0)


@case("clock set back")
def clock_set_back(sandbox: Sandbox, seed: int) -> Tally:
    at = datetime.now() + timedelta(hours=1)
    run = sandbox.run(
        config=with_op(LEAD, stop_at=at.isoformat()),
        patch=lambda: patches.after_generate(patches.set_clock_back, 1 + seed % 5),
    )
    assert run.process.exitcode == 0, run.output[-3000:]
    return check(sandbox.tally(), 0)
