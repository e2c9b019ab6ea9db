"""Cases of a network that swallows what it acknowledges, of locks that a lost session holds, and of two `ranges`."""

import random
import signal
import time
from contextlib import closing
from typing import Any

import psycopg

import sum_assets.cli.ranges
from sum_assets.database import watch
from sum_assets.id_range import IdRange
from sum_assets_tests.database.proxy import proxy
from sum_assets_tests.faults.cases import UNCOMMITTED, case, check, clear_failure
from sum_assets_tests.faults.command import Run
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, Tally
from sum_assets_tests.faults.server import FIRST, SECOND

ranges_command: Any = sum_assets.cli.ranges  # mypy does not let names be replaced that it imports
_MORE = "INSERT INTO article SELECT i, 'One more. And another.' FROM generate_series(97, 196) AS i"
_LOCK = "SELECT FROM sum_assets.range_lease FOR UPDATE"


def _quick() -> None:
    watch.ASK_EVERY = watch.ANSWER_WITHIN = 1.0


@case("a black hole before PostgreSQL beyond the limit")
def black_hole(sandbox: Sandbox, seed: int) -> Tally:
    with proxy(sandbox.url) as (url, swallowing):
        sandbox.through = url
        config = {"resources": LEAD["resources"] | {"postgres": {"config": {"wait_seconds": 2.0}}}}
        run = sandbox.start_held(random.Random(seed).randint(1, 24), _quick, config=config)
        swallowing.swallow()
        sandbox.go()
        clear_failure(run, "longer than the run waits", 400)
        sandbox.through = None
        sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


@case("a black hole that swallows the connections that there are")
def old_connections(sandbox: Sandbox, seed: int) -> Tally:
    with proxy(sandbox.url) as (url, swallowing):
        sandbox.through = url
        run = sandbox.start_held(random.Random(seed).randint(1, 24), _quick)
        swallowing.swallow(new_too=False)
        sandbox.go()
        assert run.wait() == 0, run.output[-3000:]
        assert "The database was away for" in run.output
    return check(sandbox.tally(), 0)


def _terminate(run: Run, message: str, seconds: float) -> None:
    """Require that a run ends with the message, within some seconds after SIGTERM."""
    began = time.monotonic()
    run.signal(signal.SIGTERM)
    clear_failure(run, message)
    assert time.monotonic() - began < seconds, f"it ended after {time.monotonic() - began:.0f} s"


@case("SIGTERM in a black hole")
def terminate_in_a_hole(sandbox: Sandbox, seed: int) -> Tally:
    """Most of the time is Dagster's, which tries again and again to write what happened."""
    with proxy(sandbox.url) as (url, swallowing):
        sandbox.through = url
        run = sandbox.start_held(random.Random(seed).randint(1, 24))
        swallowing.swallow()
        sandbox.go()
        time.sleep(1 + 5 * seed)
        _terminate(run, "while Dagster wrote its log", 60)
        sandbox.through = None
        sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


@case("a lock on the lease held by a lost session, and SIGTERM")
def lost_session(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start_held(random.Random(seed).randint(1, 24))
    with closing(psycopg.connect(sandbox.url)) as lost:
        lost.execute(_LOCK)
        sandbox.go()
        time.sleep(1)
        _terminate(run, "Stopped by SIGTERM", 20)
        sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


@case("a lock on the lease of a killed run held by a lost session")
def lost_session_of_the_dead(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start_held(random.Random(seed).randint(1, 24))
    with closing(psycopg.connect(sandbox.url)) as lost:
        lost.execute(_LOCK)
        run.signal(signal.SIGKILL)
        run.wait()
        sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


@case("two `ranges --rows` at once")
def two_ranges(sandbox: Sandbox, seed: int) -> Tally:
    """Both find the same rows in no range."""
    sandbox.sql(_MORE)

    def look_longer() -> None:
        real = ranges_command.new_ranges

        def new_ranges(*arguments: Any) -> list[IdRange]:
            found: list[IdRange] = real(*arguments)
            time.sleep(0.5)
            return found

        ranges_command.new_ranges = new_ranges

    runs = [sandbox.command("ranges", "--rows", str(rows), patch=look_longer) for rows in (7 + seed, 10)]
    assert 0 in [run.wait() for run in runs], [run.output for run in runs]
    listed = sandbox.command("ranges")
    assert listed.wait() == 0, listed.output
    ranges = [IdRange.from_key(key) for key in listed.output.split()]
    assert ranges[:2] == [FIRST, SECOND]
    assert [r.lo for r in ranges] == [1, *(r.hi + 1 for r in ranges[:-1])], ranges
    assert ranges[-1].hi == 196, ranges
    sandbox.finish()
    return check(sandbox.tally(edits=_MORE), 0)
