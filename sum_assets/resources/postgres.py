"""The database. It has no run configuration: a URL holds a password, and run configuration is shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from psycopg import Connection

from sum_assets.corpus.database import connect
from sum_assets.corpus.schema import require_schema


class PostgresResource(dg.ConfigurableResource[Any]):
    """Connects to `SUM_ASSETS_DATABASE_URL`, or to the embedded server."""

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection to a database whose schema fits this code. Raises UserError otherwise."""
        with connect() as connection:
            require_schema(connection)
            yield connection
