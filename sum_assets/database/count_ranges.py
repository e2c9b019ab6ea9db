"""Counts many ID ranges on several connections, since the server takes one processor for each."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from queue import SimpleQueue

from psycopg import Connection

from sum_assets.database.connection import connect
from sum_assets.database.range_count import Recount, count_range
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

#: How many connections at most.
CONNECTIONS = 4


def count_ranges(ranges: Sequence[IdRange], *, record: bool) -> Iterator[tuple[IdRange, Recount]]:
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
