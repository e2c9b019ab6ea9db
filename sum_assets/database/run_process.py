"""Records in which process each run of Dagster lives: Dagster does not notice that a run ended with its machine."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.database.connection import connect
from sum_assets.database.processes import is_running, own_process
from sum_assets.database.range_lease import EXPIRY, RENEW_EVERY
from sum_assets.database.reconnect import Database
from sum_assets.database.statements import statement
from sum_assets.database.watch import watched
from sum_assets.errors import UserError

_MIGRATION = 15  # that made the table


@dataclass(frozen=True, slots=True)
class RunProcess:
    """The process of a run: that which runs its steps, or has started theirs."""

    run_id: str
    host: str
    boot_id: str
    pid: int
    process_start: str
    recorded_at: datetime
    expired: bool

    @property
    def alive(self) -> bool:
        """Whether it runs: in this boot of the machine, it is looked up; elsewhere, its heartbeat decides."""
        return is_running(self.boot_id, self.pid, self.process_start, expired=self.expired)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def recorded_process(database: Database, run_id: str) -> Iterator[None]:
    """Record this process as that of a run, and send heartbeats inside the block.

    The row stays, since this process has yet to write how the run ended. `forget_processes` deletes it.
    """
    database.run(_record, run_id)
    done = threading.Event()
    threading.Thread(target=_renew, args=[database.url, run_id, done], daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _record(connection: Connection, run_id: str) -> None:
    connection.execute(statement("run_process_record"), {"run_id": run_id, **own_process()})


def _renew(url: str, run_id: str, done: threading.Event) -> None:
    query = "UPDATE sum_assets.run_process SET renewed_at = clock_timestamp() WHERE run_id = %s"
    while not done.wait(RENEW_EVERY):
        with suppress(psycopg.Error, UserError), connect(url) as connection, watched(connection):
            connection.execute(query, [run_id])


def run_processes(connection: Connection) -> dict[str, RunProcess]:
    """Return the process of each run, by the run's ID."""
    with connection.cursor(row_factory=class_row(RunProcess)) as cursor:
        rows = cursor.execute(statement("run_processes"), {"expiry": EXPIRY}).fetchall()
    return {row.run_id: row for row in rows}


def forget_processes(connection: Connection, unfinished: Collection[str]) -> None:
    """Delete the rows of runs that have ended."""
    query = (
        "DELETE FROM sum_assets.run_process WHERE run_id <> ALL (%s) "
        "AND renewed_at < clock_timestamp() - make_interval(secs => %s)"
    )
    connection.execute(query, [list(unfinished), EXPIRY])


def recorded_since(connection: Connection) -> datetime | None:
    """Return from when on each run has been recorded."""
    query = "SELECT applied_at FROM sum_assets.schema_migration WHERE version = %s"
    row = connection.execute(query, [_MIGRATION]).fetchone()
    return row[0] if row else None
