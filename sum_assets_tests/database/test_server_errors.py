"""Errors of a server are sentences, whatever its language."""

import time

import psycopg
import pytest

from sum_assets.database.connection import connect
from sum_assets.database.reconnect import open_database
from sum_assets.database.schema import migrate
from sum_assets.database.server_errors import explained
from sum_assets.errors import UnreachableError, UserError
from sum_assets.paths import URL_VARIABLE
from sum_assets_tests.database.fake_server import refusing

REFUSALS = [
    ("28P01", "Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen", "Check the user and password"),
    ("28000", "kein pg_hba.conf-Eintrag für Host »h«", "Check the user and password"),
    ("3D000", "Datenbank »x« existiert nicht", "Create it, or correct"),
    ("42501", "keine Berechtigung für Datenbank »x«", "Check that the server runs"),
    ("55000", "Datenbank »x« akzeptiert gegenwärtig keine Verbindungen", "Check that the server runs"),
]


@pytest.mark.parametrize(("state", "message", "fix"), REFUSALS)
def test_a_refusal_is_told_at_once_in_any_language(
    state: str, message: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://")
    began = time.monotonic()
    with refusing(state, message) as port, open_database(f"postgresql://u:secret@127.0.0.1:{port}/x") as database:
        with pytest.raises(UserError, match=rf"{message}\. {fix}") as caught:
            database.run(lambda connection: None)
        assert not isinstance(caught.value, UnreachableError)
    assert time.monotonic() - began < 30
    assert "secret" not in str(caught.value)


def test_a_read_only_session_is_not_taken_for_a_standby(empty_database_url: str) -> None:
    with connect(empty_database_url) as connection:
        connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction) as caught:
            connection.execute("CREATE TABLE public.nothing ()")
        with pytest.raises(UserError) as refused:
            migrate(connection)
    for message in (str(explained(caught.value)), str(refused.value)):
        assert "If the server is a standby, name the primary. If not, allow writing: ALTER ROLE" in message
        assert "SET default_transaction_read_only = off" in message
        assert "recovery" not in message


@pytest.mark.parametrize(
    ("state", "message"),
    [("57P03", "das Datenbanksystem startet"), ("53300", "tut mir leid, schon zu viele Verbindungen")],
)
def test_what_may_pass_is_waited_for(state: str, message: str) -> None:
    with refusing(state, message) as port, pytest.raises(UnreachableError, match=message):
        connect(f"postgresql://u@127.0.0.1:{port}/x")


def test_of_several_servers_one_that_starts_is_waited_for() -> None:
    with refusing("57P03", "startet") as starting, refusing("28P01", "falsch") as refused:
        with pytest.raises(UnreachableError, match=f"127.0.0.1:{starting},127.0.0.1:{refused}/x"):
            connect(f"postgresql://u@127.0.0.1:{starting},127.0.0.1:{refused}/x")
        with pytest.raises(UserError, match="falsch") as caught:
            connect(f"postgresql://u@127.0.0.1:1,127.0.0.1:{refused}/x")
        assert not isinstance(caught.value, UnreachableError)


def test_every_error_of_a_server_is_a_sentence_and_those_of_code_are_not() -> None:
    kinds = [kind for kind in vars(psycopg.errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    states = [kind for kind in kinds if getattr(kind, "sqlstate", None)]
    assert len(states) > 250
    for kind in states:
        assert "zu voll" in str(explained(kind("zu voll")))
    assert "connection to the database was lost: weg" in str(explained(psycopg.OperationalError("weg")))
    assert explained(psycopg.ProgrammingError("the query has 1 placeholder but 2 parameters were passed")) is None
    assert explained(KeyError("source")) is None
    outer = RuntimeError("too many retries")
    outer.__cause__ = psycopg.errors.QueryCanceled("annullé")
    assert "The server canceled a statement: annullé" in str(explained(outer))
