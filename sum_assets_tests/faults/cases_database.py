"""Cases of a PostgreSQL that stops, refuses, or keeps a run waiting."""

import random
import time
from typing import Any

import psycopg

from sum_assets.database import connection as database
from sum_assets_tests.faults import patches
from sum_assets_tests.faults.cases import PAUSE, UNCOMMITTED, case, check, clear_failure
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, Tally


@case("PostgreSQL stopped at once, started again", short=True)
def restart_the_server(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start(pause=PAUSE)
    sandbox.wait_for_rows(random.Random(seed).randint(8, 40), run)
    sandbox.server.crash()
    time.sleep(2)
    sandbox.server.start()
    assert run.wait() == 0, run.output[-3000:]
    assert "The database was away for" in run.output
    return check(sandbox.tally(), 0)


@case("PostgreSQL away beyond the limit")
def beyond_the_limit(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start(config=LEAD | _resources(postgres={"wait_seconds": 1.0}), pause=PAUSE)
    sandbox.wait_for_rows(random.Random(seed).randint(8, 40), run)
    sandbox.server.crash()
    code = run.wait()
    sandbox.server.start()
    assert (code, "longer than the run waits" in run.output) == (1, True), run.output[-3000:]
    sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


def _resources(**configs: dict[str, Any]) -> dict[str, Any]:
    return {"resources": LEAD["resources"] | {name: {"config": config} for name, config in configs.items()}}


@case("PostgreSQL down at the start")
def down_at_the_start(sandbox: Sandbox, seed: int) -> Tally:
    """One run fails with a clear error at its limit. Another waits, logs that it waits, and continues."""
    sandbox.server.crash()
    given_up = sandbox.run(config=LEAD | _resources(postgres={"wait_seconds": 0.6}))
    run = sandbox.start()
    time.sleep(random.Random(seed).uniform(0.2, 2))
    sandbox.server.start()
    assert (given_up.process.exitcode, "longer than the run waits" in given_up.output) == (1, True), given_up.output
    assert (run.wait(), "The database is away" in run.output) == (0, True), run.output[-3000:]
    return check(sandbox.tally(), 0)


@case("sessions terminated during COPY")
def terminate_in_copy(sandbox: Sandbox, seed: int) -> Tally:
    def terminate() -> None:
        with psycopg.connect(sandbox.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND datname = current_database() AND backend_type = 'client backend'"
            )

    run = sandbox.run(patch=lambda: patches.in_copy(terminate, random.Random(seed).randint(1, 60)))
    assert run.process.exitcode == 0, run.output[-3000:]
    return check(sandbox.tally(), 0)


@case("read-only database")
def read_only(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start_held(random.Random(seed).randint(1, 24))
    sandbox.server.admin(f"ALTER DATABASE {sandbox.name} SET default_transaction_read_only = on")
    with psycopg.connect(sandbox.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
    sandbox.go()
    code = run.wait()
    sandbox.server.admin(f"ALTER DATABASE {sandbox.name} RESET default_transaction_read_only")
    assert (code, "read-only" in run.output) == (1, True), run.output[-3000:]
    sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


@case("lock timeout")
def lock_timeout(sandbox: Sandbox, seed: int) -> Tally:
    def patch() -> None:
        database.LOCK_TIMEOUT = "500ms"

    run = sandbox.start_held(random.Random(seed).randint(1, 24), patch)
    with psycopg.connect(sandbox.url) as connection:
        connection.execute("LOCK sum_assets.generated_summary")
        sandbox.go()
        clear_failure(run, "Another session has locked a table or row")
    sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)
