"""A server that goes away: what is waited for, what is repeated, and what a person must fix."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection

from sum_assets.abstract import Summary
from sum_assets.database import connection as db
from sum_assets.database import reconnect
from sum_assets.database.connection import transaction
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.results import ResultStore
from sum_assets.errors import StoppedError, UnreachableError, UserError

SUMMARIES = [Summary(i, "s", 1, 1, False, "stop") for i in range(3)]
HASHES = dict.fromkeys(range(3), b"")
STORE = ResultStore("f", "r")


@pytest.fixture
def ours(database_url: str) -> Iterator[Database]:
    with open_database(database_url, wait_seconds=5) as opened:
        opened.run(STORE.register, {})
        yield opened


def terminate(database: Connection) -> None:
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database()"
    )


def rows(database: Connection) -> int:
    row = database.execute("SELECT count(*) FROM sum_assets.generated_summary").fetchone()
    assert row
    return int(row[0])


def test_a_session_that_is_ended_is_opened_again_and_its_transaction_repeated(
    ours: Database, database: Connection
) -> None:
    messages: list[str] = []
    ours.outages.on_return = messages.append
    attempts = []

    def work(connection: Connection) -> int:
        attempts.append(1)
        with connection.transaction():
            STORE.write(connection, SUMMARIES, HASHES)
            if len(attempts) < 3:
                terminate(database)
            STORE.write(connection, SUMMARIES, HASHES)
        return 7

    assert ours.run(work) == 7
    assert (len(attempts), rows(database), ours.outages.count) == (3, 3, 2)
    assert "The database was away for 0.0 s; the run goes on" in messages[0]


def test_a_server_that_is_away_is_waited_for_up_to_the_limit(
    ours: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url, ours.url = ours.url, "postgresql://127.0.0.1:1/none"
    monkeypatch.setattr(reconnect, "FIRST_WAIT", 0.1)
    ours.close()

    def waits() -> list[str]:
        return [r.message.rpartition("again in ")[2] for r in caplog.records if "is away" in r.message]

    def come_back() -> None:
        while len(waits()) < 4:
            time.sleep(0.02)
        ours.url = url

    back = threading.Thread(target=come_back, daemon=True)
    back.start()
    ours.run(lambda connection: connection.execute("SELECT 1"))
    back.join()
    assert ours.outages.count == 1
    assert ours.outages.seconds > 1.5
    assert waits() == ["0.1 s.", "0.2 s.", "0.4 s.", "0.8 s."]
    ours.close()
    ours.url, ours._wait_seconds = "postgresql://127.0.0.1:1/none", 0.5
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"was away for \d s, longer than the run waits .* and the run goes on"):
        ours.run(lambda connection: None)
    assert 0.4 < time.monotonic() - began < 30


def test_what_a_server_refuses_is_not_waited_for(database_url: str) -> None:
    with (
        open_database(psycopg.conninfo.make_conninfo(database_url, dbname="nowhere")) as opened,
        pytest.raises(UserError, match='database "nowhere" does not exist'),
    ):
        opened.run(lambda connection: None)


def fails_with(database: Connection, state: str) -> None:
    database.execute(
        f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'No space left' USING ERRCODE = '{state}'; END $$""".encode()
    )
    database.execute("CREATE TRIGGER fail AFTER INSERT ON sum_assets.generated_summary EXECUTE FUNCTION fail()")


def test_what_a_person_must_fix_is_said(ours: Database, database: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        ours.run(STORE.write, SUMMARIES, HASHES)

    monkeypatch.setattr(db, "LOCK_TIMEOUT", "100ms")
    with database.transaction():
        database.execute("LOCK sum_assets.generated_summary")
        with pytest.raises(UserError, match="Another session has locked a table or row"):
            write()
    ours.run(lambda connection: connection.execute("SET default_transaction_read_only = on"))
    with pytest.raises(UserError, match=r"The database is read-only.* Nothing was half written"):
        write()
    ours.run(lambda connection: connection.execute("SET default_transaction_read_only = off"))
    fails_with(database, "53100")
    with pytest.raises(UserError, match="The disk of the database is full: No space left"):
        write()
    assert rows(database) == 0
    database.execute("DROP TRIGGER fail ON sum_assets.generated_summary")
    write()
    assert rows(database) == 3
    with pytest.raises(UserError, match=r'A table is missing: relation "nowhere" does not exist'):
        ours.run(lambda connection: connection.execute("SELECT FROM nowhere"))


def test_a_deadlock_is_tried_again(ours: Database, database: Connection) -> None:
    tries = []

    def work(connection: Connection) -> None:
        tries.append(1)
        with transaction(connection):
            if len(tries) == 1:
                connection.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")

    ours.run(work)
    assert len(tries) == 2


def test_what_is_always_in_the_way_ends_in_a_sentence(ours: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "CONFLICTS", 3)
    tries = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")

    with pytest.raises(
        UserError,
        match=r"Transactions of another session conflicted with this one again and again: .* Nothing was half written",
    ):
        ours.run(work)
    assert len(tries) == 4


def test_a_request_to_stop_ends_the_wait(ours: Database) -> None:
    ours.close()
    ours.url, ours._wait_seconds = "postgresql://127.0.0.1:1/none", 60
    reasons: list[str] = []
    threading.Timer(1.0, reasons.append, ["by SIGTERM"]).start()
    began = time.monotonic()
    with (
        pytest.raises(StoppedError, match=r"Stopped by SIGTERM, while the database was away .* it goes on there"),
        ours.stopped_by(lambda: reasons[0] if reasons else None),
    ):
        ours.run(lambda connection: None)
    assert time.monotonic() - began < 30


def test_work_that_ends_its_own_session_is_not_repeated_for_ever(
    ours: Database, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a statement does that crashes the server, or lasts longer than its transaction_timeout."""
    monkeypatch.setattr(reconnect, "LOSSES", 2)
    tries = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(UserError, match="The connection to the database was lost: terminating connection"):
        ours.run(work)
    assert len(tries) == 3
