"""Dagster's own storage, in the same database as the corpus, in a schema of its own."""

import os
from collections.abc import Sequence
from typing import Any

from dagster import DagsterInvariantViolationError
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._core.types.pagination import PaginatedResults
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from psycopg import Connection, conninfo
from sqlalchemy import URL, create_engine

from sum_assets.database.connection import configured_url, connect
from sum_assets.database.range_registry import adding
from sum_assets.database.schema import require_schema
from sum_assets.database.statements import statement
from sum_assets.database.url import read_url
from sum_assets.defs.dagster_schema import PLUGIN, SCHEMA
from sum_assets.defs.partitions import id_ranges
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.paths import dagster_dir, home


class SortedPartitionsStorage(PostgresEventLogStorage):
    """Returns the ID ranges in the order of their IDs, and adds none that overlaps another.

    Dagster returns dynamic partitions as they were registered, and takes a range of them by this order: in the UI, in
    a run, and in a backfill. Ranges that are added below others would be in no range that ends among these.
    """

    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        # To open a connection takes longer than to store an event, and a run stores several for each range.
        self._engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=20)

    def dispose(self) -> None:
        """Close what is open; who uses the storage again opens it again."""
        super().dispose()
        self._engine.dispose()

    def get_dynamic_partitions(self, partitions_def_name: str) -> Sequence[str]:
        """Return the keys; those of ID ranges sort as the ranges do."""
        keys = super().get_dynamic_partitions(partitions_def_name)
        return sorted(keys) if partitions_def_name == id_ranges.name else keys

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        """Add keys. Raises UserError where one of them is not a valid ID range, or overlaps another.

        The command line, the UI and the sensor all come through here.
        """
        add, present = super().add_dynamic_partitions, super().get_dynamic_partitions
        if partitions_def_name != id_ranges.name or not partition_keys:
            add(partitions_def_name, partition_keys)
            return
        new = [IdRange.from_key(key) for key in partition_keys]
        with connect() as connection:
            require_schema(connection)
            with adding(connection, new, lambda: present(partitions_def_name)):
                add(partitions_def_name, partition_keys)

    def delete_id_ranges(self, partition_keys: Sequence[str]) -> None:
        """Delete ID ranges in one statement: one for each takes minutes where there are thousands."""
        with connect() as connection:
            connection.execute(statement("partition_keys_delete"), {"keys": list(partition_keys)})

    def get_paginated_dynamic_partitions(
        self, partitions_def_name: str, limit: int, ascending: bool, cursor: str | None = None
    ) -> PaginatedResults[str]:
        """Return a page of the keys in the same order."""
        keys = self.get_dynamic_partitions(partitions_def_name)
        return PaginatedResults.create_from_sequence(keys, limit, ascending, cursor)


class SumAssetsStorage(DagsterPostgresStorage):
    """Named in dagster.yaml; resolves to PostgreSQL or, where there is no database yet, to SQLite."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        # The one that this replaces has looked for its tables already, and made them where there were none.
        self._event_log_storage = SortedPartitionsStorage(postgres_url)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return no fields: the database is found as everywhere else."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: dict[str, Any]
    ) -> DagsterStorage:
        """Return the storage of the database in use. Every Dagster process comes through here."""
        # A backfill waits for a code server that is away; else the daemon takes its assets for deleted, and ends it.
        os.environ.setdefault("DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR", "1")
        try:
            url = configured_url()
            if url is None:
                return DagsterSqliteStorage.from_local(str(dagster_dir(home()) / "history"), inst_data)
            with connect(url) as connection:
                _require_schema(connection)
        except UserError as error:
            raise DagsterInvariantViolationError(str(error)) from error
        return cls(postgres_url=sqlalchemy_url(url), inst_data=inst_data)


def _require_schema(connection: Connection) -> None:
    """Create Dagster's schema where it is missing. Raises UserError where this role may not make or see the tables.

    Nothing is created where the tables are there: neither a writer nor a standby could.
    """
    row = connection.execute(statement("dagster_schema_state"), {"schema": SCHEMA}).fetchone()
    assert row is not None
    has_schema, has_tables, may_use, may_create = row
    if has_schema and not may_use:
        raise UserError(
            f"This role may not use the schema {SCHEMA}, where Dagster's tables are. `sum-assets init --roles` makes "
            "roles that may."
        )
    if not has_tables and not may_create:
        raise UserError(
            "Dagster's tables are missing, and this role may not make them here. Run `sum-assets init` as the role "
            "that owns the schema sum_assets, on the primary server."
        )
    if not has_schema:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}".encode())


def sqlalchemy_url(url: str) -> str:
    """Return a libpq URL in the form that dagster-postgres passes to SQLAlchemy, tables in our schema.

    libpq reads it there too, as one string: SQLAlchemy knows no service files, and not all forms of several hosts. The
    driver is named because a bare `postgresql://` means psycopg 3 to SQLAlchemy 2.1, and dagster-postgres expects
    psycopg2.
    """
    parameters = read_url(url)
    user = parameters.pop("user", None)
    password = parameters.pop("password", None) if user else None  # apart, where SQLAlchemy does not print it
    query = {"dsn": conninfo.make_conninfo("", **parameters), "plugin": PLUGIN}
    return URL.create("postgresql+psycopg2", user, password, query=query).render_as_string(hide_password=False)
