"""Reads the user's abstracts through the view `source_abstract`."""

from collections.abc import Sequence

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.abstract import Abstract
from sum_assets.database.statements import statement
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
