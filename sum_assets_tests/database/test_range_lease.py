"""Two runs on the same IDs: one works, the other says who does."""

import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from psycopg import Connection

from sum_assets.abstract import Summary
from sum_assets.database import range_lease as leases
from sum_assets.database.connection import connect, transaction
from sum_assets.database.processes import process_start
from sum_assets.database.range_count import begin_count, record_count, recorded_counts
from sum_assets.database.range_lease import holders, range_lease
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.results import ResultStore
from sum_assets.database.verify import verify_range
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

RANGE = IdRange(1, 10)


@pytest.fixture
def ours(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


def test_a_range_is_one_runs_alone(ours: Database, database: Connection) -> None:
    with range_lease(ours, RANGE, "first"), range_lease(ours, IdRange(11, 20), "second"):
        for overlapping in (RANGE, IdRange(10, 12), IdRange(0, 99)):
            with (
                pytest.raises(UserError, match=r"being worked on by run (first|second) on .* \(process \d+\) since 2"),
                range_lease(ours, overlapping, "third"),
            ):
                pass
        assert [(h.run_id, h.alive) for h in holders(database)] == [("first", True), ("second", True)]
    assert holders(database) == []


def test_an_inner_block_of_the_same_run_leaves_the_lease_to_the_outer(ours: Database, database: Connection) -> None:
    """But what was counted of the range holds no longer."""
    with range_lease(ours, RANGE, "first") as outer:
        record_count(database, RANGE, verify_range(database, RANGE), begin_count(database, RANGE))
        assert recorded_counts(database)
        with range_lease(ours, RANGE, "first") as inner:
            assert inner == outer
            assert recorded_counts(database) == {}
        assert [(h.token, h.alive) for h in holders(database)] == [(outer.token, True)]
        with pytest.raises(ValueError, match="no"), range_lease(ours, RANGE, "first"):
            raise ValueError("no")
        assert [(h.token, h.failure) for h in holders(database)] == [(outer.token, None)]
    assert holders(database) == []


def test_a_failed_run_says_so_and_holds_nothing(ours: Database, database: Connection) -> None:
    with pytest.raises(ValueError, match="no"), range_lease(ours, RANGE, "first"):
        raise ValueError("no\nmore")
    (left,) = holders(database)
    assert (left.failure, left.alive) == ("no", False)
    with range_lease(ours, RANGE, "second"):
        assert [h.run_id for h in holders(database)] == ["second"]


def test_the_dead_hold_nothing_and_a_run_gets_back_its_own(ours: Database, database: Connection) -> None:
    with range_lease(ours, RANGE, "first"), range_lease(ours, RANGE, "first"):
        assert len(holders(database)) == 1
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = process_start(process.pid)
    with range_lease(ours, RANGE, "first"):
        assert process_start(process.pid) == born
        database.execute("UPDATE sum_assets.range_lease SET pid = %s, process_start = %s", [process.pid, born])
        with pytest.raises(UserError, match="being worked on by run first"), range_lease(ours, RANGE, "second"):
            pass
        process.kill()
        assert process_start(process.pid) in (None, born)
        while process_start(process.pid) is not None:  # it is a zombie soon, since nobody has waited for it
            pass
        with range_lease(ours, RANGE, "second"):
            assert [h.run_id for h in holders(database)] == ["second"]
    process.wait()


def test_elsewhere_a_lease_ends_when_it_is_not_renewed(
    ours: Database, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.05)
    store = ResultStore("f", "first")
    store.register(database, {})
    with range_lease(ours, RANGE, "first") as lease:
        database.execute("UPDATE sum_assets.range_lease SET boot_id = 'elsewhere', renewed_at = 'epoch'")
        for _ in range(100):
            if holders(database)[0].alive:
                break
            database.execute("SELECT pg_sleep(0.02)")
        assert holders(database)[0].alive, "the heart beats"
        monkeypatch.setattr(leases, "EXPIRY", -1.0)
        with range_lease(ours, RANGE, "second"):
            monkeypatch.setattr(leases, "EXPIRY", 90.0)
            summary = Summary(1, "s", 1, 1, False, "stop")
            with pytest.raises(UserError, match="was taken over by another run: run second on"):
                store.write(database, [summary], {1: b""}, lease)
    assert database.execute("SELECT count(*) FROM sum_assets.generated_summary").fetchone() == (0,)
    assert holders(database) == []


def test_the_first_of_two_wins(ours: Database, database: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other looks before the first has committed."""
    real = leases.holders
    looks: Iterator[list[leases.Holder] | None] = iter([[], None])

    def blind(connection: Connection, id_range: IdRange | None = None) -> list[leases.Holder]:
        seen = next(looks)
        return real(connection, id_range) if seen is None else seen

    with range_lease(ours, RANGE, "first"):
        monkeypatch.setattr(leases, "holders", blind)
        with pytest.raises(UserError, match="being worked on by run first"), range_lease(ours, RANGE, "second"):
            pass


@pytest.fixture
def expired(ours: Database, database: Connection) -> None:
    """A lease of a run elsewhere that has ended without a word."""
    with pytest.raises(KeyboardInterrupt), range_lease(ours, RANGE, "first"):
        raise KeyboardInterrupt
    database.execute("UPDATE sum_assets.range_lease SET failure = NULL, boot_id = 'elsewhere', renewed_at = 'epoch'")


@pytest.mark.parametrize("lock", ["SELECT * FROM sum_assets.range_lease FOR UPDATE", "LOCK sum_assets.range_lease"])
def test_a_stopped_session_does_not_keep_the_lease_of_the_dead(
    lock: str, expired: None, ours: Database, database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PATIENCE", 0.3)
    with psycopg.connect(database_url) as stopped:
        stopped.execute(lock.encode())
        with range_lease(ours, RANGE, "second"):
            assert [h.run_id for h in holders(database)] == ["second"]
        with pytest.raises(psycopg.errors.AdminShutdown):
            stopped.execute("SELECT 1")


def test_a_session_that_the_role_may_not_end_is_named(
    expired: None, database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PATIENCE", 0.2)
    monkeypatch.setattr(leases, "WAIT", 1.0)
    role = f"writer_{uuid.uuid4().hex}"
    database.execute(f"CREATE ROLE {role} LOGIN".encode())
    try:
        database.execute(f"GRANT USAGE ON SCHEMA sum_assets TO {role}".encode())
        database.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA sum_assets TO {role}".encode())
        with (
            psycopg.connect(database_url, application_name="psql") as stopped,
            open_database(psycopg.conninfo.make_conninfo(database_url, user=role)) as theirs,
        ):
            stopped.execute("SELECT * FROM sum_assets.range_lease FOR UPDATE")
            pid = stopped.info.backend_pid
            with (
                pytest.raises(UserError, match=rf"another session locks it: process {pid} of .*pg_terminate_backend"),
                range_lease(theirs, RANGE, "second"),
            ):
                pass
    finally:
        database.execute(f"DROP OWNED BY {role}".encode())
        database.execute(f"DROP ROLE {role}".encode())


def test_a_lock_on_a_live_lease_ends_every_wait(
    ours: Database, database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its own run: a commit fails with a sentence, heartbeats go on later, and the release gives up."""
    monkeypatch.setattr(leases, "WAIT", 0.2)
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.05)
    store = ResultStore("f", "first")
    store.register(database, {})
    began = time.monotonic()
    with psycopg.connect(database_url) as stopped:
        with range_lease(ours, RANGE, "first") as lease:
            stopped.execute("SELECT * FROM sum_assets.range_lease FOR UPDATE")
            with pytest.raises(UserError, match="Another session has locked a table or row"):
                ours.run(store.write, [Summary(1, "s", 1, 1, False, "stop")], {1: b""}, lease)
            stopped.rollback()
            ours.run(store.write, [Summary(1, "s", 1, 1, False, "stop")], {1: b""}, lease)
            database.execute("UPDATE sum_assets.range_lease SET renewed_at = 'epoch'")
            for _ in range(100):
                if not holders(database)[0].expired:
                    break
                time.sleep(0.05)
            assert not holders(database)[0].expired, "the heart beats again"
            stopped.execute("SELECT * FROM sum_assets.range_lease FOR UPDATE")
        assert [h.run_id for h in holders(database)] == ["first"], "not released, but this process goes on"
    assert time.monotonic() - began < 18


@contextmanager
def forwarding(target: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Forward a folder's socket to that of the server; what is yielded resets the clients, and the clients alone."""
    with tempfile.TemporaryDirectory(prefix="sum_assets_") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/.s.PGSQL.5432")
        listener.listen()
        clients: list[socket.socket] = []

        def copy(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(f"{target}/.s.PGSQL.5432")
                    clients.append(client)
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=copy, args=pair, daemon=True).start()

        def reset() -> None:
            for client in clients:
                client.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=accept, daemon=True).start()
        yield folder, reset


def test_the_session_of_a_lost_client_does_not_keep_its_locks(
    ours: Database, database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy has reset the client, in the middle of a transaction and of a COPY, and keeps the server's side open."""
    monkeypatch.setattr(leases, "PATIENCE", 0.3)
    folder = str(psycopg.conninfo.conninfo_to_dict(database_url)["host"])
    seconds = []

    def take_over() -> None:
        monkeypatch.setattr(leases, "EXPIRY", -1.0)
        began = time.monotonic()
        with open_database(database_url) as others, range_lease(others, RANGE, "second"):
            assert [h.run_id for h in holders(database)] == ["second"]
        seconds.append(time.monotonic() - began)

    def work(lost: Connection, lease: leases.Lease) -> None:
        with transaction(lost), lost.cursor() as cursor:
            lease.hold(lost)
            cursor.execute("CREATE TEMPORARY TABLE t (i int)")
            with cursor.copy("COPY t FROM STDIN") as copy:
                copy.write_row((1,))
                reset()
                take_over()
                copy.write_row((2,))

    with forwarding(folder) as (proxy, reset), range_lease(ours, RANGE, "first") as lease:
        database.execute("UPDATE sum_assets.range_lease SET boot_id = 'elsewhere'")
        lost = connect(psycopg.conninfo.make_conninfo(database_url, host=proxy))
        with pytest.raises(psycopg.OperationalError):
            work(lost, lease)
    assert seconds[0] < 8
