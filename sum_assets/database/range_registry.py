"""Keeps the ID ranges that Dagster has registered apart: no two overlap, whoever adds them at once."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from psycopg import Connection

from sum_assets.database.connection import transaction
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID, IdRange

_LOCK = 7_365_110  # any constant: two `ranges` at once queue on it


def parse_keys(keys: Sequence[str]) -> tuple[list[IdRange], list[str]]:
    """Return the ID ranges that partition keys name, in order, and the keys that name none."""
    ranges, invalid = [], []
    for key in keys:
        try:
            ranges.append(IdRange.from_key(key))
        except UserError:
            invalid.append(key)
    return sorted(ranges), sorted(invalid)


def stored_keys(connection: Connection) -> list[str] | None:
    """Return the partition keys that Dagster keeps in this database; None where it has no tables here to read."""
    if not _has_tables(connection):
        return None
    return [key for (key,) in connection.execute(statement("partition_keys"))]


def ranges_in_runs(connection: Connection, ranges: Sequence[IdRange]) -> set[IdRange]:
    """Return those ranges that a run of Dagster has before it, by its tables in this database, if they are here."""
    found: set[IdRange] = set()
    ordered = sorted(ranges)
    if _has_tables(connection):
        for keys in connection.execute(statement("keys_in_runs")):
            span, invalid = parse_keys(keys)
            if not invalid:  # else a run of a benchmark
                found.update(ordered[bisect_left(ordered, span[0]) : bisect_right(ordered, span[1])])
    return found


def _has_tables(connection: Connection) -> bool:
    row = connection.execute(statement("dagster_schema_state"), {"schema": "dagster"}).fetchone()
    has_schema, has_tables, may_use, _ = row or (False, False, False, False)
    return bool(has_schema and has_tables and may_use)


def require_known(key: str, ranges: Collection[IdRange]) -> IdRange:
    """Return the range that a key names. Raises UserError where the key is not valid or none of the ranges."""
    id_range = IdRange.from_key(key)
    if id_range not in ranges:
        raise UserError(f"The ID range {key} is not registered. `sum-assets ranges` lists those that are.")
    return id_range


@contextmanager
def cutting(connection: Connection) -> Iterator[None]:
    """Let one session at a time look where ranges are missing and add them. Others wait, then see what it added."""
    with transaction(connection):
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield


@contextmanager
def adding(connection: Connection, new: Sequence[IdRange], registered: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Hold the table of ranges while the caller registers new ones; `registered` reads the keys that there are.

    Raises UserError where a new range overlaps another.
    """
    with transaction(connection):
        connection.execute("LOCK TABLE sum_assets.id_range IN SHARE ROW EXCLUSIVE MODE")
        present, _ = parse_keys(registered())
        added = sorted(set(new) - set(present))
        for lower, upper in overlaps([*present, *added]):
            if lower in added or upper in added:
                raise UserError(
                    f"The ID range {upper.key} overlaps {lower.key}. An abstract belongs to one range: another command "
                    "may have added ranges at the same time. `sum-assets ranges` lists them."
                )
        connection.execute(statement("id_range_forget"), _ends(present))
        connection.execute(statement("id_range_add"), _ends([*present, *added]))
        yield


def _ends(ranges: Sequence[IdRange]) -> dict[str, list[int]]:
    return {"los": [r.lo for r in ranges], "his": [r.hi for r in ranges]}


def overlaps(ranges: Sequence[IdRange]) -> list[tuple[IdRange, IdRange]]:
    """Return each range that overlaps one that begins before it, behind the one of these that ends last."""
    pairs = []
    furthest: IdRange | None = None
    for id_range in sorted(ranges):
        if furthest and id_range.lo <= furthest.hi:
            pairs.append((furthest, id_range))
        if furthest is None or id_range.hi > furthest.hi:
            furthest = id_range
    return pairs


def to_forget(ranges: Sequence[IdRange], begun: Collection[IdRange]) -> list[IdRange]:
    """Return ranges without which no two overlap; those that are begun stay rather than others."""
    kept: list[IdRange] = []
    for id_range in sorted(ranges, key=lambda r: (r not in begun, r.hi)):
        if all(id_range.lo > other.hi or id_range.hi < other.lo for other in kept):
            kept.append(id_range)
    return sorted(set(ranges) - set(kept))


def begun_ranges(connection: Connection) -> set[IdRange]:
    """Return the ranges that a run has begun to work on."""
    return {IdRange(lo, hi) for lo, hi in connection.execute("SELECT lo, hi FROM sum_assets.range_profile")}


def gaps(ranges: Sequence[IdRange]) -> list[IdRange]:
    """Return what no range covers of the IDs from 0 to the largest, in order."""
    uncovered = []
    lo = 0
    for id_range in sorted(ranges):
        if id_range.lo > lo:
            uncovered.append(IdRange(lo, id_range.lo - 1))
        lo = max(lo, id_range.hi + 1)
    if lo <= LARGEST_ID:
        uncovered.append(IdRange(lo, LARGEST_ID))
    return uncovered
