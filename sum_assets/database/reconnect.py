"""A database that comes back: waits where the server is away, and repeats the transaction that it cut off."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg import Connection

from sum_assets.database.connection import connect, database_url
from sum_assets.database.server_errors import AWAY, CONFLICT, explained
from sum_assets.database.watch import Watch, watched
from sum_assets.errors import StoppedError, UnreachableError, first_line

T = TypeVar("T")
P = ParamSpec("P")

#: Seconds before the second and before any later attempt; the first is made at once.
FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0
#: How often in a row a transaction is repeated that lost to another.
CONFLICTS = 8
#: How often one unit of work loses a connection that was there.
LOSSES = 8

_log = logging.getLogger(__name__)


class Outages:
    """How often the server was away, for how many seconds in all, as the connections of one run saw it together."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        #: What to call when it is back.
        self.on_return: Callable[[str], object] = _log.warning
        self._lock = threading.Lock()
        self._waiting = 0
        self._began = 0.0

    def begin(self) -> None:
        """Note that a connection has found the server away."""
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                self._began = time.monotonic()

    def end(self, *, back: bool) -> None:
        """Note that a connection is `back`, or waits no longer."""
        with self._lock:
            self._waiting -= 1
            if self._waiting:
                return
            away = time.monotonic() - self._began
            self.seconds += away
            self.count += back
        if back:
            self.on_return(f"The database was away for {away:.1f} s; the run goes on.")


class Database:
    """Runs units of work on one connection, and runs them again where the connection is lost.

    A unit must do the same when repeated: whether the server committed it before it went away is not known.
    """

    def __init__(self, url: str | None = None, *, wait_seconds: float = 600.0) -> None:
        self.url = url or database_url()
        self._wait_seconds = wait_seconds
        self._connection: Connection | None = None
        self.outages = Outages()
        self._stop: Callable[[], str | None] = lambda: None

    def run(self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work(connection, *args, **kwargs)` returns.

        Raises UnreachableError where the server stays away for longer than the limit, and UserError for what
        only a person can fix: a full disk, a lock that somebody holds, a read-only server, endless deadlocks. Raises
        StoppedError where `stopped_by` ends the wait, for the server or for a statement. A statement that gets no
        answer, while the server says that it does nothing or says nothing itself, counts as a lost connection.
        """
        began: float | None = None
        watch: Watch | None = None
        attempt = conflicts = losses = 0
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(self.url)
                    if began is not None:
                        self.outages.end(back=True)
                        began, attempt = None, 0
                with watched(self._connection, self._stop) as watch:
                    return work(self._connection, *args, **kwargs)
            except UnreachableError as error:
                reason: Exception = error
            except psycopg.Error as error:
                if watch and watch.stopped:
                    raise self._stopped(watch.stopped, "while it waited for the database") from error
                state = error.sqlstate or ""
                if state in CONFLICT and conflicts < CONFLICTS:
                    conflicts += 1
                    time.sleep(0.01 * 2**conflicts)  # five seconds in all
                    continue
                lost = self._connection is None or self._connection.closed or state.startswith(AWAY)
                losses += 1  # it may be this very work that ends the session or crashes the server
                if not lost or losses > LOSSES:
                    raise (explained(error) or error) from error
                self.close()
                reason = UnreachableError(watch.lost) if watch and watch.lost else error
            if began is None:
                self.outages.begin()
                began = time.monotonic()
            try:
                self._wait(reason, attempt, time.monotonic() - began)
            except BaseException:
                self.outages.end(back=False)
                raise
            attempt += 1

    def _wait(self, reason: Exception, attempt: int, away: float) -> None:
        if away >= self._wait_seconds:
            text = (
                f"The database was away for {away:.0f} s, longer than the run waits (wait_seconds of the resource "
                "postgres). Start it and run this again: what was committed stays, and the run goes on there. "
                f"The last error: {first_line(reason)}"
            )
            _log.error(text)
            raise UnreachableError(text) from reason
        if attempt:
            pause = min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT, self._wait_seconds - away)
            # Not to Dagster's log, which may live in the very database.
            _log.warning("The database is away (%s). Trying again in %.1f s.", first_line(reason), pause)
            self._sleep(pause, reason)

    def _sleep(self, seconds: float, reason: Exception) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if why := self._stop():
                raise self._stopped(why, f"while the database was away ({first_line(reason)})")
            time.sleep(min(left, 0.5))

    def _stopped(self, why: str, when: str) -> StoppedError:
        return StoppedError(f"Stopped {why}, {when}. What was committed stays. Run this again: it goes on there.")

    @contextmanager
    def stopped_by(self, stop: Callable[[], str | None]) -> Iterator[None]:
        """End the waits inside the block as soon as `stop` gives a reason."""
        before, self._stop = self._stop, stop
        try:
            yield
        finally:
            self._stop = before

    @contextmanager
    def beside(self) -> Iterator["Database"]:
        """Open another connection for another thread, with the same patience. Outages of both count here."""
        other = Database(self.url, wait_seconds=self._wait_seconds)
        other._stop, other.outages = self._stop, self.outages
        try:
            yield other
        finally:
            other.close()

    def close(self) -> None:
        """Close the connection; the next unit of work opens another."""
        if self._connection is not None:
            self._connection.close()


@contextmanager
def open_database(url: str | None = None, *, wait_seconds: float = 600.0) -> Iterator[Database]:
    """Open a database, and close it in the end. Connects when first used."""
    database = Database(url, wait_seconds=wait_seconds)
    try:
        yield database
    finally:
        database.close()
