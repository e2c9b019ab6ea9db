"""Looks for a secret wherever a password could turn up: files, tables, and the command lines of all processes."""

import base64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from psycopg import Connection
from psycopg.sql import SQL, Identifier

_SCHEMAS = ("dagster", "sum_assets")


def forms(secret: str) -> list[bytes]:
    """Return a secret as it may be written: plain, in a URL, in base 64 at any offset, and in hexadecimal digits."""
    plain = secret.encode()
    # Of base 64, what depends on the neighbours is cut off.
    encoded = [base64.b64encode(b"x" * n + plain)[4 if n else 0 : -4] for n in range(3)]
    return [plain, quote(secret, safe="").encode(), *encoded, plain.hex().encode()]


def found_in(content: bytes, secret: str) -> bool:
    """Return whether some content holds the secret."""
    return any(form in content for form in forms(secret))


def files_with(folder: Path, secret: str) -> list[Path]:
    """Return the files below a folder that hold the secret."""
    holding = []
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone, or a socket
            if path.is_file() and found_in(path.read_bytes(), secret):
                holding.append(path)
    return holding


def tables_with(connection: Connection, secret: str) -> list[str]:
    """Return the tables of ours and of Dagster's with a row that holds the secret in some column."""
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY (%s)"
    holding = []
    for schema, table in connection.execute(query, [list(_SCHEMAS)]).fetchall():
        rows = connection.execute(SQL("SELECT t::text FROM {} AS t").format(Identifier(schema, table)))
        if any(found_in(text.encode(), secret) for (text,) in rows):
            holding.append(f"{schema}.{table}")
    return holding


def command_lines() -> Iterator[bytes]:
    """Yield the command line of each process of this machine, as `ps` shows it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()
