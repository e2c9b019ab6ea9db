"""Keeps Dagster's tables in a schema of their own, also behind a pooler that gives each statement another session.

Its statements, like ours, do not wait for an answer that will not come.
"""

import time
from typing import Any

from psycopg2 import Error as Psycopg2Error
from psycopg2.extensions import TRANSACTION_STATUS_ACTIVE, connection, cursor
from sqlalchemy import URL, Engine, event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin
from sqlalchemy.exc import DisconnectionError

from sum_assets.database import watch
from sum_assets.database.watch import session_state, watched

SCHEMA = "dagster"
#: Named in a URL, since that is all that dagster-postgres passes to SQLAlchemy.
PLUGIN = "sum_assets_schema"
_OPENED = "sum_assets_opened"
#: Seconds for which a new connection is taken to be there.
_FRESH = 1.0


class InSchema(cursor):
    """Sends the search path with each statement: both run in one transaction, at the end of which it is gone.

    As a parameter of the connection, poolers refuse or ignore it, and the tables would be made in `public`.
    """

    def execute(self, query: Any, parameters: Any = None) -> None:
        """Execute a statement of text or bytes."""
        with watched(_Session(self.connection)):
            super().execute(_prefixed(query), parameters)

    def executemany(self, query: Any, several: Any) -> None:
        """Execute a statement once for each of several rows of parameters."""
        with watched(_Session(self.connection)):
            super().executemany(_prefixed(query), several)


class _Session:
    """A session of psycopg2. It is in autocommit mode: all it waits for is a statement."""

    def __init__(self, connection: connection) -> None:
        self._info = connection.info
        self.fileno = connection.fileno

    def busy(self) -> bool:
        return bool(self._info.transaction_status == TRANSACTION_STATUS_ACTIVE)

    def state(self) -> object:
        info = self._info
        address = {"host": info.host, "port": str(info.port), "password": info.password}
        return session_state({**info.dsn_parameters, **address}, info.backend_pid)

    def cancel(self) -> None:
        """Not needed: nothing asks it to stop."""


def _prefixed(query: str | bytes) -> str | bytes:
    path = f"SET LOCAL search_path = {SCHEMA}; "
    return path.encode() + query if isinstance(query, bytes) else path + query


class SchemaPlugin(CreateEnginePlugin):
    """Makes the connections of an engine use `InSchema`."""

    def update_url(self, url: URL) -> URL:
        """Return the URL as it is: SQLAlchemy has taken the plugin's name out."""
        return url

    def engine_created(self, engine: Engine) -> None:
        """Set the factory of cursors for each connection."""
        event.listen(engine, "do_connect", _use_schema)
        event.listen(engine, "connect", _note_opening)
        event.listen(engine, "checkout", _require_answer)


def _use_schema(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
    parameters["cursor_factory"] = InSchema
    if watch.silent_lately():  # Dagster tries six times for each event that it writes
        parameters["connect_timeout"] = 1


def _note_opening(opened: connection, record: Any) -> None:
    record.info[_OPENED] = time.monotonic()


def _require_answer(kept: connection, record: Any, proxy: Any) -> None:
    """Have SQLAlchemy open another connection instead of one that was kept and is lost.

    Its own test of a connection would wait for an answer even where the server has given none since.
    """
    opened = record.info[_OPENED]
    if opened < watch.silent_since():
        raise DisconnectionError
    if time.monotonic() - opened > _FRESH:
        try:
            with kept.cursor() as asking:
                asking.execute("SELECT 1")
        except Psycopg2Error as error:
            raise DisconnectionError from error


plugins.register(PLUGIN, __name__, SchemaPlugin.__name__)
