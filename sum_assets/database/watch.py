"""Ends the wait for an answer that will not come, and that of a run which is asked to stop.

TCP alone cannot tell: a proxy may acknowledge what it never forwards. So while a statement takes long, a second
connection asks the server whether it is there, and whether it works on that statement.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol

import psycopg
from psycopg import Connection, conninfo, pq

#: Seconds between two looks.
LOOK_EVERY = 0.5
#: Seconds before the first question to the server and between two, and until it counts as unanswered.
ASK_EVERY = 10.0
ANSWER_WITHIN = 5.0
#: After how many questions in a row without an answer, or that find the statement gone, the wait ends.
SILENCES = 3
#: Seconds that a statement may take to its end after a request to stop.
GRACE = 5.0

#: Also which process of the server answers: behind a pooler, it is not the one that libpq was told of.
_STATE = """
SELECT pg_backend_pid(), state, state_change FROM (SELECT 1) AS one LEFT JOIN pg_stat_activity ON pid = {}
"""
#: Seconds that the server counts as silent after it last gave no answer.
_SILENT_FOR = 60.0
_silent_until = 0.0
_WORKING = "working"
_UNANSWERED = "unanswered"


def note_answer(*, given: bool) -> None:
    """Note whether the server has just answered, or not in the time that it had."""
    global _silent_until
    _silent_until = 0.0 if given else time.monotonic() + _SILENT_FOR


def silent_lately() -> bool:
    """Return whether the server last gave no answer: who has much to try should not wait long each time."""
    return time.monotonic() < _silent_until


def silent_since() -> float:
    """Return the monotonic time at which the server last gave no answer: what was opened before may be lost."""
    return _silent_until - _SILENT_FOR


class Session(Protocol):
    """A connection of some driver, for another thread to look at."""

    def fileno(self) -> int:
        """Return the descriptor of its socket."""

    def busy(self) -> bool:
        """Return whether it waits for the answer to a statement."""

    def state(self) -> object:
        """Return the `session_state` of it."""

    def cancel(self) -> None:
        """Ask the server to end its statement."""


class _Psycopg:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.fileno = connection.fileno

    def busy(self) -> bool:
        return self._connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE

    def state(self) -> object:
        info = self._connection.info
        address = {"host": info.host, "hostaddr": info.hostaddr or None, "port": str(info.port)}
        return session_state({**info.get_parameters(), **address, "password": info.password}, info.backend_pid)

    def cancel(self) -> None:
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=2)


class Watch:
    """What a thread saw while a block used a session."""

    def __init__(self, session: Session, stop: Callable[[], str | None]) -> None:
        self._session, self._stop = session, stop
        self._socket = socket.socket(fileno=os.dup(session.fileno()))
        self._done, self._ending = threading.Event(), threading.Lock()
        #: For how long it had no answer, when it ended the connection.
        self.lost: str | None = None
        #: The reason to stop for which it ended a statement.
        self.stopped: str | None = None

    def close(self) -> None:
        """Have it end nothing of what follows."""
        self._done.set()
        with self._ending:
            self._socket.close()

    def run(self) -> None:
        """Look until the block ends, or until this ends what the block waits for."""
        busy_since = stop_at = 0.0
        states: list[object] = []
        asked = 0
        while not self._done.wait(LOOK_EVERY):
            now = time.monotonic()
            reason = self._stop()
            if reason and not stop_at:
                stop_at = now + GRACE
            if not self._session.busy():
                busy_since = 0.0
            elif not busy_since:
                busy_since, asked, states = now, 0, []
            elif reason and now >= stop_at:
                return self._end(stopped=reason)
            elif now - busy_since >= ASK_EVERY * (asked + 1):
                asked += 1
                state = self._session.state()
                # As long as a session does not work and does not change, it has not got the statement, or we not its
                # answer. One that is between two statements at each question changes.
                states = [*(states if states and states[-1] == state else []), state]
                if state != _WORKING and len(states) >= SILENCES:
                    return self._end(lost=f"no answer for {time.monotonic() - busy_since:.0f} s")
        return None

    def _end(self, *, stopped: str | None = None, lost: str | None = None) -> None:
        with self._ending:
            if self._done.is_set():
                return
            self.stopped, self.lost = stopped, lost
            if stopped:
                self._session.cancel()
                if self._done.wait(2):
                    return
            note_answer(given=False)
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def watched(connection: Connection | Session, stop: Callable[[], str | None] = lambda: None) -> Iterator[Watch]:
    """End a statement of the block for which no answer will come, and one that keeps a run from its stop.

    The connection is lost then, or the statement canceled.
    """
    watch = Watch(_Psycopg(connection) if isinstance(connection, Connection) else connection, stop)
    threading.Thread(target=watch.run, daemon=True).start()
    try:
        yield watch
    finally:
        watch.close()


def session_state(parameters: Mapping[str, str | None], pid: int) -> object:
    """Ask the server, on a connection of its own to the same address, what the session of a process does.

    Returns the same value as long as it does nothing. Where the server refuses the connection, or a pooler is in
    between, the session counts as working.
    """
    parameters = {**parameters, "target_session_attrs": None}
    end = time.monotonic() + ANSWER_WITHIN
    other = pq.PGconn.connect_start(conninfo.make_conninfo("", **parameters).encode())
    try:
        polled = other.connect_poll()
        while polled not in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            if not _ready(other.socket, end, reading=polled == pq.PollingStatus.READING):
                return _UNANSWERED
            polled = other.connect_poll()
        if polled == pq.PollingStatus.FAILED:
            return _WORKING
        other.send_query(_STATE.format(pid).encode())
        while other.flush() or other.is_busy():
            if not _ready(other.socket, end, reading=True):
                return _WORKING  # a pooler has no session left to give
            other.consume_input()
        result = other.get_result()
        if result is None or result.status != pq.ExecStatus.TUPLES_OK:
            return _WORKING
        answered_by, state, changed = (result.get_value(0, column) for column in range(3))
        direct = answered_by == str(other.backend_pid).encode()
        return _WORKING if not direct or state in (b"active", b"disabled") else (state, changed)
    except psycopg.Error:
        return _WORKING
    finally:
        other.finish()


def _ready(descriptor: int, end: float, *, reading: bool) -> bool:
    waiting = [descriptor]
    left = max(0.0, end - time.monotonic())
    return any(select.select(waiting if reading else [], [] if reading else waiting, [], left))
