"""Processes that take ranges until none is left: no range twice, none lost, and one that is killed is replaced."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.database.connection import connect
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.defs.instance import registered_ranges

Run = Callable[..., tuple[int, str, str]]
LEAD = "resources: {gpu: {config: {engine: lead, batch_size: 1}}}"
#: Sessions that wait for a lock that the test holds.
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(LEAD)
    return path


def runs_of(instance: dg.DagsterInstance, key: str) -> list[str]:
    """Return how the runs of a range ended, the first of them first."""
    return [run.status.value for run in instance.get_runs(dg.RunsFilter(tags={"dagster/partition": key}))][::-1]


@contextmanager
def held(url: str, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command and yield it while it waits to write its first result."""
    with connect(url) as locking, connect(url) as looking:
        locking.execute("BEGIN; LOCK TABLE sum_assets.generated_summary IN EXCLUSIVE MODE")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while looking.execute(WAITING).fetchone() is None:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        yield process
        locking.execute("ROLLBACK")


def test_what_is_left_is_done_and_nothing_else(
    run: Run, keys: list[str], instance: dg.DagsterInstance, database_url: str, config: Path
) -> None:
    taken = next(r for r in registered_ranges(instance) if r.key == keys[2])
    with open_database(database_url) as others, range_lease(others, taken, "another"):
        code, out, err = run("work", "-c", config)
    assert code == 0, err
    assert "2 ID ranges done here, and none is free. 1 range is with others." in out
    assert [runs_of(instance, key) for key in keys] == [["SUCCESS"], ["SUCCESS"], [], ["SUCCESS"]]
    assert run("status")[1].count(" done ") == 3
    code, out, _ = run("work", keys[2], keys[3], "-c", config)
    assert (code, "1 ID range done here, and none is free.\n" in out) == (0, True)
    assert "4 done" in run("status")[1]
    assert run("work", "-c", config)[1] == "0 ID ranges done here, and none is free.\n"
    assert [len(runs_of(instance, key)) for key in keys] == [1, 1, 1, 1]
    assert run("verify")[0] == 0


def test_what_others_did_meanwhile_is_not_done_again(
    run: Run, keys: list[str], instance: dg.DagsterInstance, database: Connection, config: Path
) -> None:
    """What is recorded of a range may be older than what is there."""
    assert run("materialize", keys[1], "-c", config)[0] == 0
    database.execute("UPDATE sum_assets.range_count SET counted_at = NULL")
    assert "0 ID ranges done here" in run("work", keys[0], keys[1], "-c", config)[1]
    assert [len(runs_of(instance, key)) for key in keys] == [1, 1, 0, 0]
    assert "2 done" in run("status")[1]


def test_three_at_once_share_the_ranges_and_one_is_killed(
    run: Run, keys: list[str], instance: dg.DagsterInstance, database: Connection, config: Path, database_url: str
) -> None:
    command = [sys.executable, "-m", "sum_assets", "work", "-c", str(config)]
    with held(database_url, command) as killed:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert runs_of(instance, keys[1]) == ["STARTED"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(runs_of(instance, keys[1])) == ["FAILURE", "SUCCESS"]
    assert [runs_of(instance, key) for key in keys[2:]] == [["SUCCESS"], ["SUCCESS"]]
    assert sum(output.count(": done.") for output in outputs) == 3
    query = "SELECT count(*), count(DISTINCT abstract_id) FROM sum_assets.abstract_summary"
    assert database.execute(query).fetchone() == (40, 40)


@pytest.mark.usefixtures("keys")
def test_a_signal_ends_it(database_url: str, config: Path) -> None:
    with held(database_url, [sys.executable, "-m", "sum_assets", "work", "-c", str(config)]) as process:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith(("Error: Stopped by SIGTERM", "Error: The run was stopped."))
    assert ": done" not in out


def test_a_range_that_fails_leaves_the_others_and_comes_last(
    run: Run, keys: list[str], database: Connection, config: Path
) -> None:
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON sum_assets.generated_summary FOR EACH ROW "
        "WHEN (NEW.abstract_id = 11) EXECUTE FUNCTION refuse()"
    )
    code, out, err = run("work", "-c", config)
    assert (code, f"1 ID range failed, the first {keys[1]}" in err) == (1, True), err
    assert out.count(": done.") == 2
    assert out.count(": failed.") == 1
    assert "1 failed" in run("status")[1]
    database.execute("DROP TRIGGER refuse ON sum_assets.generated_summary")
    code, out, err = run("work", "-c", config)
    assert (code, "1 ID range done here" in out) == (0, True), err


def test_a_host_where_everything_fails_stops(run: Run, keys: list[str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("resources: {summarizer: {config: {model: /absent}}}")
    code, out, err = run("work", "-c", wrong)
    assert (code, "3 ID ranges failed in a row" in err, "/absent" in err) == (1, True, True), err
    assert out.count(": failed.") == 3
