"""Ranges tile the ID space, hold about equal numbers, and never change."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from sum_assets.database.ranges import full_ranges, new_ranges, scans_sequentially
from sum_assets.database.source_table import index_advice, point_source
from sum_assets.database.verify import uncovered
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

ids = st.sets(st.integers(1, 5000) | st.integers(9_999_990_000, 9_999_999_999), min_size=1, max_size=60)
against_database = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def store(database: Connection, abstract_ids: set[int], *, keep: bool = False) -> None:
    if not keep:
        database.execute("TRUNCATE sum_assets.corpus_abstract")
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, 'text ' || i FROM unnest(%s::bigint[]) AS i ON CONFLICT DO NOTHING",
        [sorted(abstract_ids)],
    )


def held(abstract_ids: set[int], id_range: IdRange) -> int:
    return sum(id_range.lo <= i <= id_range.hi for i in abstract_ids)


@against_database
@given(first=ids, later=ids, rows=st.integers(1, 20))
def test_ranges_tile_and_old_keys_stay(database: Connection, first: set[int], later: set[int], rows: int) -> None:
    store(database, first)
    before = new_ranges(database, [], rows)
    counts = [held(first, r) for r in before]
    assert sum(counts) == len(first)
    assert max(counts) <= rows
    assert max(counts) - min(counts) <= 1
    assert new_ranges(database, before, rows) == []
    store(database, later, keep=True)
    after = sorted(before + new_ranges(database, before, rows))
    assert set(before) <= set(after)
    assert all(second.lo == one.hi + 1 for one, second in pairwise(after)), "no gap and no overlap"
    assert uncovered(database, after) == 0


def test_an_id_that_the_source_has_twice_moves_the_ends(database: Connection) -> None:
    """It is refused when it is summarized: the ranges must be there to say so."""
    store(database, set(range(1, 41)))
    database.execute(
        "CREATE OR REPLACE VIEW sum_assets.source_abstract AS SELECT abstract_id, abstract "
        "FROM sum_assets.corpus_abstract, generate_series(1, 1 + (abstract_id < 20)::int)"
    )
    ranges = new_ranges(database, [], 10)
    assert [held(set(range(1, 41)), r) <= 10 for r in ranges] == [True] * len(ranges)
    assert uncovered(database, ranges) == 0
    assert (ranges[0].lo, ranges[-1].hi) == (1, 40)


@against_database
@given(first=ids, later=ids, rows=st.integers(1, 8))
def test_sensor_adds_full_ranges_only(database: Connection, first: set[int], later: set[int], rows: int) -> None:
    store(database, first)
    before = new_ranges(database, [], rows)
    store(database, later, keep=True)
    everything = first | later
    size = round(sum(held(everything, r) for r in before) / len(before))
    added = full_ranges(database, before)
    assert all(held(everything, r) == size for r in added)
    after = sorted(before + added)
    assert all(second.lo == one.hi + 1 for one, second in pairwise(after))
    for outside in (IdRange(0, after[0].lo - 1), IdRange(after[-1].hi + 1, 10**10)):
        assert held(everything, outside) < size


def test_bad_requests_are_named(database: Connection) -> None:
    with pytest.raises(UserError, match="The source has no abstracts"):
        new_ranges(database, [], 10)
    with pytest.raises(UserError, match="at least one abstract, not 0"):
        new_ranges(database, [], 0)


def test_a_table_of_ones_own_needs_the_index_that_init_prints(database: Connection) -> None:
    database.execute('CREATE TABLE public."Lab Articles" (pmcid varchar(20) PRIMARY KEY, body text)')
    database.execute(
        "INSERT INTO public.\"Lab Articles\" SELECT 'PMC' || i * 7, 'text' FROM generate_series(1, 5000) AS i"
    )
    database.execute("INSERT INTO public.\"Lab Articles\" VALUES ('PMC12X', 'a bad ID')")
    database.execute("ANALYZE")
    point_source(database, 'public."Lab Articles"', "pmcid", "body")
    index = index_advice(database)
    (first, *others) = new_ranges(database, [], 100)
    assert (first.lo, len(others)) == (7, 49)
    assert uncovered(database, [first, *others]) == 1
    assert scans_sequentially(database, first)
    database.execute(index.encode())
    assert not scans_sequentially(database, first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "id", "body"), "There is no table nowhere"),
        (("mine", "key", "body"), "has no column key. It has: at, body, id"),
        (("mine", "at", "body"), "an ID is an integer or text"),
    ],
)
def test_a_source_that_does_not_fit_is_named(
    database: Connection, arguments: tuple[str, str, str], message: str
) -> None:
    database.execute("CREATE TABLE public.mine (id integer PRIMARY KEY, at timestamptz, body text)")
    with pytest.raises(UserError, match=message):
        point_source(database, *arguments)
    assert str(point_source(database, "mine", "id", "body")) == "public.mine"
    assert scans_sequentially(database, IdRange(1, 2)) is False
