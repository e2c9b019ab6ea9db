"""Migrations apply once; a database that does not fit says so."""

from pathlib import Path

import psycopg
import pytest
from psycopg import Connection

from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.schema import NEWEST, migrate, require_schema
from sum_assets.errors import UserError
from sum_assets.paths import URL_VARIABLE


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    with connect(empty_database_url) as connection:
        with pytest.raises(UserError, match=r"has no schema sum_assets. Run `sum-assets init`"):
            require_schema(connection)
        assert len(migrate(connection)) == len(schema.MIGRATIONS)
        assert migrate(connection) == []
        require_schema(connection)


def test_renamed_columns_keep_their_rows(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(empty_database_url) as connection:
        with monkeypatch.context() as earlier:
            earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:7])
            assert len(migrate(connection)) == 7
        connection.execute("INSERT INTO sum_assets.summarizer_config VALUES ('f', '{}')")
        connection.execute("INSERT INTO sum_assets.engine_hang VALUES ('f', 1, 'hash', 16, 'run')")
        connection.execute("INSERT INTO sum_assets.device_loss VALUES ('host', 'cuda:0', 'gone', 'run')")
        connection.execute(
            "INSERT INTO sum_assets.range_lease (token, ids, run_id, host, machine, pid, birth) "
            "VALUES ('token', '[1,9]', 'run', 'host', 'boot', 7, 'start')"
        )
        assert migrate(connection) == [path.stem for path in schema.MIGRATIONS[7:]]
        for query, row in (
            ("SELECT abstract_id, group_size FROM sum_assets.engine_hang", (1, 16)),
            ("SELECT device, message FROM sum_assets.device_loss", ("cuda:0", "gone")),
            ("SELECT boot_id, pid, process_start FROM sum_assets.range_lease", ("boot", 7, "start")),
        ):
            assert connection.execute(query.encode()).fetchall() == [row]


def test_a_schema_newer_than_the_code_is_refused(database: Connection) -> None:
    database.execute("INSERT INTO sum_assets.schema_migration VALUES (%s, 'from the future')", [NEWEST + 1])
    for function in (migrate, require_schema):
        with pytest.raises(UserError, match=f"newer than this code \\({NEWEST}\\). Update sum_assets"):
            function(database)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", "Check that the server runs"),
        ("postgresql://u:secret@/x?host=/nowhere", "Check that the server runs"),
        ("mysql://u:secret@h/x", "is not a valid PostgreSQL URL"),
    ],
)
def test_a_server_out_of_reach_is_named_without_the_password(
    monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    with pytest.raises(UserError, match=message) as caught:
        connect()
    assert "secret" not in str(caught.value)


def test_wrong_password_and_missing_database_are_told_apart(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, server_url.replace("/postgres?", "/missing?"))
    with pytest.raises(UserError, match=r'database "missing" does not exist.*Create it'):
        connect()
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS locked")
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        hba = Path(row[0])
        hba.write_text("local all locked scram-sha-256\n" + hba.read_text())
        connection.execute("SELECT pg_reload_conf()")
    monkeypatch.setenv(URL_VARIABLE, server_url.replace("postgres:@", "locked:wrong@"))
    with pytest.raises(UserError, match=r"password authentication failed.*Check the user and password"):
        connect()


def test_without_a_database_the_error_says_how_to_get_one(home: object) -> None:
    with pytest.raises(UserError, match=r"No database. Name one.*sum-assets db start"):
        connect()
