"""An answer that never comes ends the wait; a statement that only takes long goes on."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection

from sum_assets.database import range_lease as leases
from sum_assets.database import watch
from sum_assets.database.connection import connect, transaction
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.url import read_url
from sum_assets.database.watch import session_state, watched
from sum_assets.errors import StoppedError, UnreachableError
from sum_assets.id_range import IdRange
from sum_assets_tests.database.proxy import Proxy, proxy

RANGE = IdRange(1, 10)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(watch, "ASK_EVERY", 0.3)
    monkeypatch.setattr(watch, "ANSWER_WITHIN", 0.3)
    monkeypatch.setattr(watch, "GRACE", 0.2)


@pytest.fixture
def between(database_url: str) -> Iterator[tuple[Database, Proxy]]:
    """A database behind a proxy that can swallow what passes."""
    with proxy(f"{database_url} connect_timeout=1") as (url, swallowing), open_database(url, wait_seconds=1) as opened:
        yield opened, swallowing


def test_what_is_swallowed_counts_as_away(between: tuple[Database, Proxy]) -> None:
    ours, swallowing = between
    ours.run(lambda connection: connection.execute("SELECT 1"))
    swallowing.swallow()
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"was away for \d s, longer than the run waits \(wait_seconds"):
        ours.run(lambda connection: connection.execute("SELECT 1"))
    assert time.monotonic() - began < 30


def test_work_is_repeated_where_one_connection_alone_is_swallowed(between: tuple[Database, Proxy]) -> None:
    ours, swallowing = between
    tries = []

    def work(connection: Connection) -> int:
        tries.append(1)
        with transaction(connection):
            if len(tries) == 1:
                swallowing.swallow(new_too=False)
            row = connection.execute("SELECT 7").fetchone()
        assert row
        return int(row[0])

    assert (ours.run(work), len(tries), ours.outages.count) == (7, 2, 1)


def test_a_session_that_ended_unheard_is_noticed(between: tuple[Database, Proxy], database: Connection) -> None:
    ours, swallowing = between
    pid = ours.run(lambda connection: connection.info.backend_pid)
    swallowing.swallow(new_too=False)
    database.execute("SELECT pg_terminate_backend(%s)", [pid])
    ours.run(lambda connection: connection.execute("SELECT 1"))
    assert ours.outages.count == 1


def test_a_healthy_statement_may_take_long(ours_direct: Database, database: Connection) -> None:
    ours = ours_direct
    ours.run(lambda connection: connection.execute("SELECT pg_sleep(1.2)"))

    def many(connection: Connection) -> None:
        end = time.monotonic() + 1.2
        with transaction(connection):
            while time.monotonic() < end:
                connection.execute("SELECT 1")

    def slow_copy(connection: Connection) -> None:
        with transaction(connection), connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE t (i int)")
            with cursor.copy("COPY t FROM STDIN") as copy:
                for i in range(4):
                    copy.write_row((i,))
                    time.sleep(0.3)

    ours.run(many)
    ours.run(slow_copy)
    with database.transaction():
        database.execute("LOCK sum_assets.range_lease")
        released = threading.Timer(1.2, database.execute, ["ROLLBACK"])
        released.start()
        ours.run(lambda connection: connection.execute("SELECT FROM sum_assets.range_lease"))
        released.join()
        database.execute("BEGIN")
    assert ours.outages.count == 0


@pytest.fixture
def ours_direct(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


def test_an_idle_session_is_seen_as_such(database: Connection, database_url: str) -> None:
    parameters = read_url(database_url)
    with connect(database_url) as other:
        pid = other.info.backend_pid
        first = session_state(parameters, pid)
        assert session_state(parameters, pid) == first
        other.execute("SELECT 1")
        assert session_state(parameters, pid) != first
        database.execute("SELECT pg_terminate_backend(%s)", [pid])
        time.sleep(0.2)
        assert session_state(parameters, pid) == (None, None)


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_request_to_stop_ends_a_wait_for_a_lock(
    swallowed: bool, between: tuple[Database, Proxy], database: Connection
) -> None:
    ours, swallowing = between
    reasons: list[str] = []
    threading.Timer(0.5, reasons.append, ["by SIGTERM"]).start()
    began = time.monotonic()
    with database.transaction():
        database.execute("LOCK sum_assets.range_lease")

        def work(connection: Connection) -> None:
            if swallowed:
                swallowing.swallow()
            connection.execute("SELECT FROM sum_assets.range_lease")

        with (
            pytest.raises(StoppedError, match="Stopped by SIGTERM, while it waited for the database"),
            ours.stopped_by(lambda: reasons[0] if reasons else None),
        ):
            ours.run(work)
        took = time.monotonic() - began
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sum_assets.range_lease'::regclass"
        assert swallowed or database.execute(waiting).fetchone() == (0,), "the server waits no more either"
    assert took < 30


def test_a_statement_that_ends_soon_is_not_stopped(ours_direct: Database) -> None:
    with ours_direct.stopped_by(lambda: "by SIGTERM"):
        ours_direct.run(lambda connection: connection.execute("SELECT pg_sleep(0.15)"))


def test_a_lease_outlives_a_hole_that_closes_and_a_rerun_takes_it_else(
    between: tuple[Database, Proxy], database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.1)
    monkeypatch.setattr(leases, "PATIENCE", 0.3)
    ours, swallowing = between
    renewed = "SELECT renewed_at FROM sum_assets.range_lease"
    with range_lease(ours, RANGE, "first"):
        time.sleep(0.3)
        swallowing.swallow(new_too=False)
        before = database.execute(renewed).fetchone()
        for _ in range(100):
            if database.execute(renewed).fetchone() != before:
                break
            time.sleep(0.05)
        assert database.execute(renewed).fetchone() != before, "the heart beats again"
        ours.run(lambda connection: connection.execute("SELECT 1"))
        swallowing.swallow()
        with pytest.raises(UnreachableError, match="longer than the run waits"):
            ours.run(lambda connection: connection.execute("SELECT 1"))
    monkeypatch.setattr(leases, "EXPIRY", -1.0)
    database.execute("UPDATE sum_assets.range_lease SET boot_id = 'elsewhere'")
    with open_database(database_url) as others, range_lease(others, RANGE, "second"):
        pass


def test_a_watch_ends_nothing_of_what_follows(database: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GRACE", 0.0)
    for _ in range(20):
        with watched(database, lambda: "by SIGTERM"):
            try:
                database.execute("SELECT pg_sleep(0.05)")
            except psycopg.errors.QueryCanceled:
                continue
        database.execute("SELECT pg_sleep(0.01)")
