"""Says in a sentence what an error of the server means, by its SQLSTATE: texts are in the server's language."""

import os
import re
import select
import time

import psycopg
from psycopg import conninfo, pq

from sum_assets.errors import UserError, first_line

#: The server shuts down, crashed, does not take connections yet, or ended an idle session; the network failed.
AWAY = ("57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "08")
#: Two transactions were in each other's way, and this one lost.
CONFLICT = ("40001", "40P01")
#: Answers to a connection that are the same the next time: no such user, database or right, or a wrong setting.
REFUSED = ("28", "3D", "42", "22", "0A", "55000")

#: The server's error is the same in both cases.
ALLOW_WRITING = (
    "If the server is a standby, name the primary. If not, allow writing: ALTER ROLE ... SET "
    "default_transaction_read_only = off"
)
_REST = "Nothing was half written. Run this again: it goes on where it stopped."
_SENTENCES = {
    "53100": f"The disk of the database is full: {{0}}. Make room. {_REST}",
    "25006": f"The database is read-only: {{0}}. {ALLOW_WRITING}. {_REST}",
    "55P03": (
        "Another session has locked a table or row for longer than lock_timeout allows: {0}. Find it in "
        f"pg_stat_activity and pg_locks, and end it. {_REST}"
    ),
    "57014": (
        "The server canceled a statement: {0}. If that is its statement_timeout, raise it for this role: ALTER ROLE "
        f"... SET statement_timeout. {_REST}"
    ),
    "42501": (
        "This role may not do that: {0}. docs/how-to/your-own-server.md lists the rights, and "
        "`sum-assets init --roles` grants them."
    ),
    "22P05": "The encoding of the database cannot hold a character: {0}. Use a database with the encoding UTF8.",
    "22021": "The database holds or got text that is not valid in its encoding: {0}. Correct that text.",
    "42P01": "A table is missing: {0}. Run `sum-assets init`, which makes those of sum_assets.",
    "3F": "A schema is missing: {0}. Run `sum-assets init`, which makes sum_assets.",
    "40": (
        "Transactions of another session conflicted with this one again and again: {0}. Find it in "
        f"pg_stat_activity, and let it end. {_REST}"
    ),
    "53": f"The database ran out of a resource: {{0}}. {_REST}",
    "XX": "The database is damaged, or has a fault of its own: {0}. Ask whoever runs it, and look into its log.",
}


def explained(error: BaseException | None) -> UserError | None:
    """Return what the server's error means and how to fix it; None where no server is to blame.

    Drivers' errors are looked for in the chain of causes: Dagster's storage has a driver of its own.
    """
    while error is not None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state or _is_lost(error):
            return UserError(_sentence(state or AWAY[-1], _message(error)))
        error = error.__cause__ or getattr(error, "orig", None)
    return None


def _is_lost(error: BaseException) -> bool:
    """Return whether a connection ended without a word of the server."""
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).mro()}
    return bool(kinds & {("psycopg", "OperationalError"), ("psycopg2", "OperationalError")})


def _message(error: BaseException) -> str:
    diagnosis = getattr(error, "diag", None)
    return (getattr(diagnosis, "message_primary", None) or first_line(error)).removesuffix(".")


def _sentence(state: str, message: str) -> str:
    if state.startswith(AWAY):
        return f"The connection to the database was lost: {message}. {_REST}"
    sentence = _SENTENCES.get(state) or _SENTENCES.get(state[:2])
    return sentence.format(message) if sentence else f"The database refused a statement ({state}): {message}. {_REST}"


def refusal(parameters: dict[str, str]) -> str | None:
    """Connect once more, and return the SQLSTATE of the server's refusal; None where it is away, or gave none.

    libpq keeps the SQLSTATE of a refused connection to itself, but for the trace of its messages. The trace may hold
    a password, so it goes into memory alone.
    """
    end = time.monotonic() + 10
    trace = os.memfd_create("trace")
    connection = pq.PGconn.connect_start(conninfo.make_conninfo("", **parameters).encode())
    try:
        connection.trace(trace)
        while time.monotonic() < end:
            polled = connection.connect_poll()
            if polled in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
                break
            waiting = [connection.socket]
            reading = polled == pq.PollingStatus.READING
            select.select(waiting if reading else [], [] if reading else waiting, [], end - time.monotonic())
        connection.untrace()
        states = re.findall(rb'\tErrorResponse\t[^\n]*? C "(\w{5})"', os.pread(trace, 1 << 20, 0))
    except psycopg.Error:  # this libpq cannot trace
        return None
    finally:
        connection.finish()
        os.close(trace)
    # With several servers, one that starts may be the one to wait for.
    refused = [state.decode() for state in states if state.decode().startswith(REFUSED)]
    return refused[-1] if refused and len(refused) == len(states) else None
