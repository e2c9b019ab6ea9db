"""Keeps two runs from working on the same IDs at once."""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import Connection, errors
from psycopg.rows import class_row

from sum_assets.database.characters import storable
from sum_assets.database.connection import LOCK_TIMEOUT, connect, transaction
from sum_assets.database.processes import is_running, own_process
from sum_assets.database.reconnect import Database
from sum_assets.database.statements import statement
from sum_assets.database.watch import watched
from sum_assets.errors import RangeError, UserError, first_line
from sum_assets.id_range import LARGEST_ID, IdRange

#: Seconds between two heartbeats, and after how many without one another run may take the lease.
RENEW_EVERY = 20.0
EXPIRY = 90.0
#: Seconds that a statement on the leases waits for a lock: others hold one for milliseconds.
WAIT = 20.0
#: Seconds that the end of a block waits for the release of its lease.
RELEASE = 5.0
#: After how many seconds the sessions that keep a takeover waiting are ended, where they do nothing themselves.
PATIENCE = 5.0

_log = logging.getLogger(__name__)
#: What this process holds now, by run and range.
_held: dict[tuple[str, IdRange], "Lease"] = {}


@dataclass(frozen=True, slots=True)
class Holder:
    """A row of the table of leases; `failure` says why the last run failed, which then holds nothing."""

    token: str
    lo: int
    hi: int
    run_id: str
    host: str
    boot_id: str
    pid: int
    process_start: str
    taken_at: datetime
    failure: str | None
    expired: bool

    @property
    def id_range(self) -> IdRange:
        """The IDs that it covers."""
        return IdRange(self.lo, self.hi)

    @property
    def alive(self) -> bool:
        """Whether the run still works: on this machine, its process is looked up; elsewhere, expiry decides."""
        if self.failure is not None:
            return False
        return is_running(self.boot_id, self.pid, self.process_start, expired=self.expired)

    def __str__(self) -> str:
        since = self.taken_at.astimezone()
        return f"run {self.run_id} on {self.host} (process {self.pid}) since {since:%Y-%m-%d %H:%M:%S %Z}"


@dataclass(frozen=True, slots=True)
class Lease:
    """A range that is ours alone."""

    token: str
    id_range: IdRange

    def hold(self, connection: Connection) -> None:
        """Make sure, inside a transaction, that nobody takes the range before its end.

        Raises RangeError where somebody has: this process was away for longer than a lease lasts.
        """
        query = "SELECT FROM sum_assets.range_lease WHERE token = %s FOR SHARE"
        with _limited(connection):
            present = connection.execute(query, [self.token]).fetchone()
        if present is None:
            by = next((f": {h}" for h in holders(connection, self.id_range) if h.alive), "")
            raise RangeError(
                f"The range {self.id_range.key} was taken over by another run{by}. This run leaves it; nothing is lost."
            )


def holders(connection: Connection, id_range: IdRange | None = None) -> list[Holder]:
    """Return the leases that touch a range, or all."""
    span = id_range or IdRange(0, LARGEST_ID)
    with connection.cursor(row_factory=class_row(Holder)) as cursor:
        query = statement("range_lease_holders")
        return cursor.execute(query, {"lo": span.lo, "hi": span.hi, "expiry": EXPIRY}).fetchall()


@contextmanager
def range_lease(database: Database, id_range: IdRange, run_id: str) -> Iterator[Lease]:
    """Hold a range alone. Raises RangeError, at once, where another run works on part of it.

    The lease of a dead process is taken over: at once on its own machine, elsewhere when it expires. A run always
    gets back its own; inside a block that holds the very range, the outer one keeps it. The heartbeat is a thread with
    a connection of its own. A session that has stopped, and holds a lock on the lease of a dead process, is ended.
    """
    if outer := _held.get((run_id, id_range)):
        database.run(_change_on, outer)
        yield outer
        return
    lease = Lease(uuid.uuid4().hex, id_range)
    database.run(_take, lease, run_id, database.url)
    _held[run_id, id_range] = lease
    done = threading.Event()
    threading.Thread(target=_renew, args=[database.url, lease.token, done], daemon=True).start()
    failure = None
    try:
        yield lease
    except BaseException as error:
        failure = first_line(error)
        raise
    finally:
        del _held[run_id, id_range]
        done.set()
        # Where this fails or takes long, the lease ends with this process, or by itself.
        release = threading.Thread(target=_release, args=[database.url, lease.token, failure], daemon=True)
        release.start()
        release.join(RELEASE)


@contextmanager
def _limited(connection: Connection) -> Iterator[None]:
    """Limit, inside a transaction, how long its statements wait."""
    wait = round(WAIT * 1000)  # for a lock; the longer limit of a statement is for anything else
    connection.execute(f"SET LOCAL lock_timeout = {wait}; SET LOCAL statement_timeout = {2 * wait}".encode())
    yield
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL statement_timeout TO DEFAULT".encode())


def _take(connection: Connection, lease: Lease, run_id: str, url: str) -> None:
    parameters = {
        "token": lease.token,
        "lo": lease.id_range.lo,
        "hi": lease.id_range.hi,
        "run_id": run_id,
        **own_process(),
    }
    ending = _Ending(url)
    try:
        with transaction(connection), _limited(connection), ending.of_what_blocks(connection):
            present = holders(connection, lease.id_range)
            free = [h.token for h in present if h.run_id == run_id or not h.alive]
            if len(free) < len(present):
                raise _taken(lease.id_range, present)
            connection.execute("DELETE FROM sum_assets.range_lease WHERE token = ANY (%s)", [free])
            connection.execute(statement("range_lease_take"), parameters)
            connection.execute(statement("range_count_changed"), parameters)
    except errors.ExclusionViolation:  # another was quicker
        raise _taken(lease.id_range, holders(connection, lease.id_range)) from None
    except errors.LockNotAvailable as error:
        raise RangeError(
            f"The lease of {lease.id_range.key} is free, but another session locks it: {ending.left or 'unknown'}. End "
            "it, SELECT pg_terminate_backend(PROCESS), as its own role or as a superuser. Then run this again."
        ) from error


def _change_on(connection: Connection, lease: Lease) -> None:
    """Drop what was counted of a range that we hold, as taking it does."""
    with transaction(connection):
        lease.hold(connection)
        connection.execute(statement("range_count_changed"), {"lo": lease.id_range.lo, "hi": lease.id_range.hi})


def _taken(id_range: IdRange, present: list[Holder]) -> RangeError:
    by = next((f"{h}, which holds {h.id_range.key}" for h in present if h.alive), "another run")
    return RangeError(
        f"The range {id_range.key} is being worked on by {by}. Wait for that run, or end it; then run this again. "
        f"The lease of a run whose machine is gone ends after {EXPIRY:.0f} s."
    )


class _Ending:
    """Ends the sessions that keep a takeover waiting: those of a client that is gone, or of one that has stopped.

    Their server does not know that, if a proxy keeps their connection.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        #: A session that this role may not end.
        self.left = ""

    @contextmanager
    def of_what_blocks(self, connection: Connection) -> Iterator[None]:
        """End what the statements of this block wait for."""
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        done = threading.Event()
        threading.Thread(target=self._watch, args=[row and row[0], done], daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def _watch(self, waiting: int, done: threading.Event) -> None:
        if done.wait(PATIENCE):
            return
        parameters = {"waiting": waiting, "seconds": PATIENCE}
        with suppress(psycopg.Error, UserError), connect(self._url) as connection:
            while not done.wait(0.5):
                for pid, user, program, ended in connection.execute(statement("range_lease_end_stuck"), parameters):
                    session = f"process {pid} of {user or 'another role'} ({program or 'no name'})"
                    self.left = "" if ended else session
                    if ended:
                        _log.warning("Ended a session that locked the lease of a dead run: %s.", session)


def _release(url: str, token: str, failure: str | None) -> None:
    """Give the range back; `status` tells of a failure until the next run."""
    with (
        suppress(psycopg.Error, UserError),
        connect(url) as connection,
        watched(connection),
        transaction(connection),
        _limited(connection),
    ):
        if failure is None:
            connection.execute("DELETE FROM sum_assets.range_lease WHERE token = %s", [token])
        else:
            query = "UPDATE sum_assets.range_lease SET failure = %s WHERE token = %s"
            connection.execute(query, [storable(connection, failure), token])


def _renew(url: str, token: str, done: threading.Event) -> None:
    """Send heartbeats until done. Where the database is away, nobody else can take the range either."""
    connection: Connection | None = None
    query = "UPDATE sum_assets.range_lease SET renewed_at = clock_timestamp() WHERE token = %s"
    while not done.wait(RENEW_EVERY):
        try:
            if connection is None or connection.closed:
                connection = connect(url)
            with watched(connection), transaction(connection), _limited(connection):
                connection.execute(query, [token])
        except (psycopg.Error, UserError):
            continue
    if connection is not None:
        connection.close()
