"""Reads the user's abstracts through the view `source_abstract`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import Connection, errors
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row

from sum_assets.abstract import Abstract
from sum_assets.database.statements import statement
from sum_assets.errors import RangeError
from sum_assets.id_range import IdRange


def read_abstracts(connection: Connection, ids: Sequence[int]) -> list[Abstract]:
    """Read abstracts by ID, as they are now, with their hashes. An ID that was deleted since is left out."""
    with connection.cursor(row_factory=class_row(Abstract)) as cursor:
        return cursor.execute(statement("source_read"), {"ids": list(ids)}).fetchall()


def count_source(connection: Connection, id_range: IdRange | None = None) -> int:
    """Count the rows of the source, or of one range of it."""
    query = "SELECT count(*) FROM sum_assets.source_abstract"
    if id_range is None:
        row = connection.execute(query).fetchone()
    else:
        row = connection.execute(query + " WHERE abstract_id BETWEEN %s AND %s", [id_range.lo, id_range.hi]).fetchone()
    return int(row[0]) if row else 0


def count_up_to(connection: Connection, most: int) -> int:
    """Count the rows of the source, but no more than so many."""
    query = "SELECT count(*) FROM (SELECT FROM sum_assets.source_abstract LIMIT %s) AS counted"
    row = connection.execute(query, [most]).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def naming_rows(connection: Connection, id_range: IdRange) -> Iterator[None]:
    """Have what a row makes the user's view raise, such as a text that cannot be decoded, name that row.

    Raises RangeError.
    """
    try:
        yield
    except errors.DataError as error:
        in_transaction = connection.info.transaction_status != TransactionStatus.IDLE
        row = None if in_transaction else _first_unreadable(connection, id_range)
        if row is None:
            raise
        raise RangeError(
            f"The source cannot read the abstract with ID {row}: {error.diag.message_primary}. Correct that row, or "
            "leave it out of the view."
        ) from error


def _first_unreadable(connection: Connection, id_range: IdRange) -> int | None:
    """Return the lowest ID at which the view raises, found by halving."""
    lo, hi = id_range.lo, id_range.hi
    if _is_readable(connection, lo, hi):
        return None
    while lo < hi:
        middle = (lo + hi) // 2
        if _is_readable(connection, lo, middle):
            lo = middle + 1
        else:
            hi = middle
    return lo


def _is_readable(connection: Connection, lo: int, hi: int) -> bool:
    query = "SELECT max(length(abstract)) FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %s AND %s"
    try:
        connection.execute(query, [lo, hi])
    except errors.DataError:
        return False
    return True
