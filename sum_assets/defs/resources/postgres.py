"""The database. Its URL is not run configuration, which the UI shows: it holds a password."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from psycopg import Connection
from pydantic import Field

from sum_assets.database.connection import connect
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.schema import require_schema


class PostgresResource(dg.ConfigurableResource[Any]):
    """Connects to `SUM_ASSETS_DATABASE_URL`, or to the embedded server."""

    wait_seconds: float = Field(
        default=600.0, description="Seconds that a run waits for a database that is away, before it fails."
    )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection to a database whose schema fits this code. Raises UserError otherwise."""
        with connect() as connection:
            require_schema(connection)
            yield connection

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open a database that a run may wait for. Raises UserError where its schema does not fit this code."""
        with open_database(wait_seconds=self.wait_seconds) as database:
            database.run(require_schema)
            yield database
