"""Stores the records of a file that COPY has brought to the server."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import Connection

from sum_assets.database.statements import statement

#: Pages of the file's table that are stored by one statement: 64 MiB, a second or two.
PAGES = 8192
# Who records a count meanwhile waits until the load is committed. Taken last, and so for a moment.
_LOCK_COUNTS = "LOCK TABLE sum_assets.range_count IN SHARE ROW EXCLUSIVE MODE"


@dataclass(slots=True)
class Order:
    """Whether the IDs of a file ascend, so that none comes twice; `lo` and `hi` are the first and the last."""

    lo: int = 0
    hi: int = 0
    ascends: bool = True

    def add(self, abstract_id: int) -> None:
        """Take note of the next ID."""
        if not self.lo:
            self.lo = abstract_id
        elif abstract_id <= self.hi:
            self.ascends = False
        self.hi = abstract_id


def store_records(
    connection: Connection, order: Order, *, keep_titles: bool, on_stored: Callable[[int, int], None]
) -> Counter[str]:
    """Do with each record what it needs, and return how many were inserted, updated, left as they were and so on.

    Where all are new, they are stored as they come. Otherwise the newest record of each ID is looked for, and compared
    with what is stored. `on_stored` gets how much of how much is stored, or 0 of 0 where that cannot be said.
    """
    if order.lo and order.ascends:
        ends = {"lo": order.lo, "hi": order.hi}
        is_new, pages = connection.execute(statement("load_is_new"), ends).fetchone() or (False, 0)
        if is_new:
            inserted = 0
            for first in range(0, pages, PAGES):
                on_stored(first, pages)
                part = {"first": first, "end": first + PAGES}
                inserted += connection.execute(statement("load_insert"), part).rowcount
            connection.execute(_LOCK_COUNTS)
            connection.execute(statement("range_count_changed"), ends)
            return Counter(insert=inserted)
    on_stored(0, 0)
    connection.execute("ANALYZE pg_temp.load_record")  # else the joins may be nested loops
    done: Counter[str] = Counter(
        dict(connection.execute(statement("load_apply"), {"keep_titles": keep_titles}).fetchall())
    )
    connection.execute(_LOCK_COUNTS)
    connection.execute(statement("range_count_loaded"))
    return done
