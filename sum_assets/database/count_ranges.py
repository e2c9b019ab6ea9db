"""Counts many ID ranges on several connections, since the server takes one processor for each."""

import math
import os
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from queue import SimpleQueue

from psycopg import Connection

from sum_assets.database.connection import connect
from sum_assets.database.range_count import Recount, count_range
from sum_assets.database.source_change import EditedRange, edited_ranges, take_changes
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

#: How many connections at most.
CONNECTIONS = 4


def count_ranges(ranges: Sequence[IdRange], *, record: bool) -> Generator[tuple[IdRange, Recount]]:
    """Count ranges as `count_range`, and yield them in the order given."""
    if not ranges:
        return
    number = min(CONNECTIONS, os.cpu_count() or 1, len(ranges))
    free: SimpleQueue[Connection] = SimpleQueue()

    def count(id_range: IdRange) -> Recount:
        connection = free.get()
        try:
            return count_range(connection, id_range, record=record)
        finally:
            free.put(connection)

    with ExitStack() as stack:
        free.put(stack.enter_context(connect()))
        with suppress(UserError):  # the role or the server may have no more to give
            while free.qsize() < number:
                free.put(stack.enter_context(connect()))
        pool = ThreadPoolExecutor(free.qsize())
        stack.callback(pool.shutdown, cancel_futures=True)
        yield from zip(ranges, pool.map(count, ranges), strict=True)


def count_edited(
    connection: Connection, ranges: Sequence[IdRange], seconds: float = math.inf
) -> dict[IdRange, EditedRange]:
    """Count those of the ranges whose tracked edits were not counted yet, and return all that were ever edited.

    Where the seconds are over, the state of the others is None.
    """
    deadline = time.monotonic() + seconds
    take_changes(connection, ranges)
    known = set(ranges)
    uncounted = [r for r, one in edited_ranges(connection).items() if one.state is None and r in known]
    with closing(count_ranges(uncounted, record=True)) as counts:
        for _ in counts:
            if time.monotonic() > deadline:
                break
    return {r: one for r, one in edited_ranges(connection).items() if r in known}
