"""Resolves and opens the database, with errors that say what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection, IsolationLevel, errors

from sum_assets.database import embedded
from sum_assets.database.server_errors import AWAY, refusal
from sum_assets.database.url import address, read_url
from sum_assets.database.watch import note_answer, watched
from sum_assets.errors import UnreachableError, UserError, first_line
from sum_assets.paths import URL_VARIABLE, home, in_demo, postgres_dir, start_command

OLDEST_SERVER = 140000
#: How long to wait for a lock that somebody else holds.
LOCK_TIMEOUT = "60s"
#: How long the server keeps the locks of a transaction whose client says nothing more, or cannot be reached.
IDLE_TIMEOUT = "60s"
#: What we rely on and others may have set otherwise. Set again and again rather than once where a pooler gives each
#: transaction another session; of these, poolers keep track. They refuse some as parameters of the connection.
_SESSION = "SET standard_conforming_strings = on; SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'"


def configured_url() -> str | None:
    """Return the URL of `SUM_ASSETS_DATABASE_URL` or of the running embedded server; None without either.

    Raises UserError where an embedded database exists and its server is down.
    """
    if _names_database():
        return os.environ[URL_VARIABLE]
    data = postgres_dir(home())
    if url := embedded.running_url(data):
        return url
    if data.exists():
        raise UserError(f"The embedded database in {data} is not running. Start it: `{start_command()}`.")
    return None


def _names_database() -> bool:
    return bool(os.environ.get(URL_VARIABLE)) and not in_demo()


def database_url() -> str:
    """Return the URL of the database. Raises UserError where there is none."""
    if url := configured_url():
        return url
    raise UserError(
        f"No database. Name one, `export {URL_VARIABLE}=postgresql://user:password@host:5432/name`, "
        "or make an embedded one: `sum-assets db start`."
    )


def connect(url: str | None = None) -> Connection:
    """Open a connection in autocommit mode; transactions are explicit (`with transaction(connection)`).

    Raises UnreachableError, without the password, where the server does not answer, UserError where it refuses
    or is too old, or the URL is not valid.
    """
    parameters = read_url(url or database_url())
    try:
        # Statements are not prepared: behind a pooler, the next one may run in another session, which has them not.
        connection = psycopg.connect(autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type]
        with watched(connection):
            connection.execute(_SESSION)
    except psycopg.Error as error:
        raise _unreachable(parameters, error) from error
    note_answer(given=True)
    connection.isolation_level = IsolationLevel.READ_COMMITTED  # each BEGIN says so
    if connection.info.server_version < OLDEST_SERVER:
        connection.close()
        raise UserError(f"PostgreSQL {connection.info.server_version // 10000} is too old: 14 or newer is needed.")
    return connection


@contextmanager
def transaction(connection: Connection, *, one_snapshot: bool = False) -> Iterator[None]:
    """Open a transaction that waits for a lock at most `LOCK_TIMEOUT`; with `one_snapshot`, all its reads agree.

    The server ends it where this client is gone or silent, since its locks would keep everybody else waiting.
    """
    limits = (
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'; "
        "SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; "
        "SET LOCAL tcp_keepalives_count = 3; SET LOCAL tcp_user_timeout = 60000"
    )
    with connection.transaction():
        if one_snapshot:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(limits.encode())
        yield


def _unreachable(parameters: dict[str, str], error: psycopg.Error) -> UserError:
    named = _names_database()
    source = URL_VARIABLE if named else "the embedded server"
    reasons = [line.removeprefix("- ").strip() for line in str(error).splitlines() if line.strip()]
    reason = reasons[-1] if "\n- " in str(error) else first_line(error)  # of several servers, the last
    reason += "" if reason.endswith((".", "?", "!")) else "."
    state = error.sqlstate
    if isinstance(error, errors.ConnectionTimeout):
        note_answer(given=False)
        state = None
    elif state is None or state.startswith(AWAY):
        state = refusal(parameters)
    if state and state.startswith("28"):
        fix = f"Check the user and password in {URL_VARIABLE}."
    elif state and state.startswith("3D"):
        fix = f"Create it, or correct {URL_VARIABLE}."
    elif named:
        fix = f"Check that the server runs and that {URL_VARIABLE} is right."
    else:
        fix = f"Start it: `{start_command()}`."
    text = f"Cannot connect to PostgreSQL at {address(parameters)} ({source}): {reason} {fix}"
    return UserError(text) if state else UnreachableError(text)
