"""A database that comes back: waits where the server is away, and repeats the transaction that it cut off."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg import Connection

from sum_assets.database.connection import connect, database_url, explained
from sum_assets.errors import UnreachableError, first_line

T = TypeVar("T")
P = ParamSpec("P")

#: Seconds before the second and before any later attempt; the first is made at once.
FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0
#: The server shuts down, crashed, or does not take connections yet; the network failed.
_AWAY = ("57P01", "57P02", "57P03", "08")
#: Two transactions were in each other's way, and this one lost; how often in a row it is repeated.
_CONFLICT = ("40001", "40P01")
CONFLICTS = 8

_log = logging.getLogger(__name__)


class Database:
    """Runs units of work on one connection, and runs them again where the connection is lost.

    A unit must do the same when repeated: whether the server committed it before it went away is not known.
    """

    def __init__(self, url: str | None = None, *, wait_seconds: float = 600.0) -> None:
        self.url = url or database_url()
        self._wait_seconds = wait_seconds
        self._connection: Connection | None = None
        #: How often the server was away, for how many seconds in all, and what to call when it is back.
        self.outages = 0
        self.seconds_away = 0.0
        self.on_return: Callable[[str], object] = _log.warning

    def run(self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work(connection, *args, **kwargs)` returns.

        Raises UnreachableError where the server stays away for longer than the limit, and UserError for what
        only a person can fix: a full disk, a lock that somebody holds, a read-only server, endless deadlocks.
        """
        began: float | None = None
        attempt = conflicts = 0
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(self.url)
                    if began is not None:
                        self._back(time.monotonic() - began)
                        began, attempt = None, 0
                return work(self._connection, *args, **kwargs)
            except UnreachableError as error:
                reason: Exception = error
            except psycopg.Error as error:
                state = error.sqlstate or ""
                if state in _CONFLICT and conflicts < CONFLICTS:
                    conflicts += 1
                    time.sleep(0.01 * 2**conflicts)  # five seconds in all
                    continue
                lost = self._connection is None or self._connection.closed or state.startswith(_AWAY)
                if not lost:
                    raise (explained(error) or error) from error
                self.close()
                reason = error
            if began is None:
                began = time.monotonic()
            self._wait(reason, attempt, time.monotonic() - began)
            attempt += 1

    def _wait(self, reason: Exception, attempt: int, away: float) -> None:
        if away >= self._wait_seconds:
            self.seconds_away += away
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
            time.sleep(pause)

    def _back(self, away: float) -> None:
        self.outages += 1
        self.seconds_away += away
        self.on_return(f"The database was away for {away:.1f} s; the run goes on.")

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
