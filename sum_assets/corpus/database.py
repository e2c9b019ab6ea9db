"""Resolves and opens the database, with errors that say what to do."""

import os
from typing import Any

import psycopg
from psycopg import Connection, conninfo

from sum_assets.corpus import server
from sum_assets.errors import UserError
from sum_assets.home import URL_VARIABLE, home, in_demo, postgres_dir, start_command

OLDEST_SERVER = 140000


def configured_url() -> str | None:
    """Return the URL of `SUM_ASSETS_DATABASE_URL` or of the running embedded server; None without either.

    Raises UserError where an embedded database exists and its server is down.
    """
    if _names_database():
        return os.environ[URL_VARIABLE]
    data = postgres_dir(home())
    if url := server.running_url(data):
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

    Raises UserError, without the password, where the server cannot be reached or is too old.
    """
    url = url or database_url()
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="sum_assets", **options)
    except psycopg.Error as error:
        raise UserError(_unreachable(url, error)) from error
    if connection.info.server_version < OLDEST_SERVER:
        connection.close()
        raise UserError(f"PostgreSQL {connection.info.server_version // 10000} is too old: 14 or newer is needed.")
    return connection


def _unreachable(url: str, error: psycopg.Error) -> str:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    source = URL_VARIABLE if _names_database() else "the embedded server"
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return f"{URL_VARIABLE} is no PostgreSQL URL. Its form: postgresql://user:password@host:5432/name."
    where = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
    if "authentication failed" in reason or "no password supplied" in reason:
        mend = f"Check the user and password in {URL_VARIABLE}."
    elif "does not exist" in reason:
        mend = f"Create it, or correct {URL_VARIABLE}."
    elif source == URL_VARIABLE:
        mend = f"Check that the server runs and that {URL_VARIABLE} is right."
    else:
        mend = f"Start it: `{start_command()}`."
    return f"Cannot connect to PostgreSQL at {where} ({source}): {reason} {mend}"
