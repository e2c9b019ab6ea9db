"""Resolves and opens the database, with errors that say what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, conninfo

from sum_assets.database import embedded
from sum_assets.errors import UnreachableError, UserError, first_line
from sum_assets.paths import URL_VARIABLE, home, in_demo, postgres_dir, start_command

OLDEST_SERVER = 140000
#: How long to wait for a lock that somebody else holds.
LOCK_TIMEOUT = "60s"
#: Notice within a minute or two that the server's machine is gone; libpq keeps to itself what a pooler would refuse.
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}


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


def connect(url: str | None = None, **options: Any) -> Connection:
    """Open a connection in autocommit mode; transactions are explicit (`with connection.transaction()`).

    Raises UnreachableError, without the password, where the server does not answer, UserError where it refuses
    or is too old.
    """
    url = url or database_url()
    defaults: dict[str, Any] = {"connect_timeout": 10, "application_name": "sum_assets", **_KEEPALIVE}
    try:
        connection = psycopg.connect(url, autocommit=True, **defaults | options)
    except psycopg.Error as error:
        refused = isinstance(error, psycopg.ProgrammingError) or any(sign in str(error) for sign in _REFUSED)
        raise (UserError if refused else UnreachableError)(_unreachable(url, error)) from error
    if connection.info.server_version < OLDEST_SERVER:
        connection.close()
        raise UserError(f"PostgreSQL {connection.info.server_version // 10000} is too old: 14 or newer is needed.")
    return connection


@contextmanager
def transaction(connection: Connection, *, one_snapshot: bool = False) -> Iterator[None]:
    """Open a transaction that waits for a lock at most `LOCK_TIMEOUT`; with `one_snapshot`, all its reads agree."""
    with connection.transaction():
        if one_snapshot:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
        yield


def explained(error: psycopg.Error) -> UserError | None:
    """Return an error that says how to fix an error of the server; None where the code is at fault."""
    message = error.diag.message_primary or str(error).strip()
    rest = "Nothing was half written. Run this again: it goes on where it stopped."
    match error.sqlstate:
        case "53100":
            return UserError(f"The disk of the database is full: {message}. Make room. {rest}")
        case "25006":
            return UserError(
                f"The database is read-only: {message}. Name the primary server, or end its recovery. {rest}"
            )
        case "55P03":
            return UserError(
                f"Another session has locked a table or row for longer than {LOCK_TIMEOUT}: {message}. Find it in "
                f"pg_stat_activity and pg_locks, and end it. {rest}"
            )
        case "40001" | "40P01":
            return UserError(
                f"Transactions of another session conflicted with this one again and again: {message}. Find it in "
                f"pg_stat_activity, and let it end. {rest}"
            )
        case "42501":
            return UserError(
                f"This role may not do that: {message}. docs/how-to/your-own-table.md lists the rights to grant."
            )
        case "53200" | "53300" | "53400" | "57014":
            return UserError(f"The database ran out of a resource, or canceled the statement: {message}. {rest}")
    return None


#: Answers of a server that will be the same the next time.
_REFUSED = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")


def _unreachable(url: str, error: psycopg.Error) -> str:
    reason = first_line(error)
    source = URL_VARIABLE if _names_database() else "the embedded server"
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return f"{URL_VARIABLE} is not a valid PostgreSQL URL. Expected postgresql://user:password@host:5432/name."
    where = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
    if "authentication failed" in reason or "no password supplied" in reason:
        fix = f"Check the user and password in {URL_VARIABLE}."
    elif "does not exist" in reason:
        fix = f"Create it, or correct {URL_VARIABLE}."
    elif source == URL_VARIABLE:
        fix = f"Check that the server runs and that {URL_VARIABLE} is right."
    else:
        fix = f"Start it: `{start_command()}`."
    return f"Cannot connect to PostgreSQL at {where} ({source}): {reason} {fix}"
