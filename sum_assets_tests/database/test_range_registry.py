"""No two registered ID ranges overlap, whoever adds them at once; what is wrong already is named and repaired."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import Connection

from sum_assets.cli import ranges
from sum_assets.database.range_registry import gaps, overlaps, to_forget
from sum_assets.defs.instance import forget_keys, open_instance, register_ranges, registered_keys, registered_ranges
from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID, IdRange

Run = Callable[..., tuple[int, str, str]]
ends = st.integers(0, 30) | st.sampled_from([LARGEST_ID - 1, LARGEST_ID])
id_ranges = st.tuples(ends, ends).map(lambda pair: IdRange(min(pair), max(pair)))


def overlap(one: IdRange, other: IdRange) -> bool:
    return one.lo <= other.hi and other.lo <= one.hi


@given(st.sets(id_ranges, max_size=7), st.sets(id_ranges, max_size=3))
def test_overlaps_and_gaps_are_those_of_the_ids(ranges: set[IdRange], begun: set[IdRange]) -> None:
    expected = {max(pair) for pair in combinations(ranges, 2) if overlap(*pair)}
    assert {upper for _, upper in overlaps(list(ranges))} == expected
    assert all(overlap(*pair) for pair in overlaps(list(ranges)))
    kept = ranges - set(to_forget(list(ranges), begun))
    assert overlaps(list(kept)) == []
    assert all(any(overlap(one, other) for other in kept) for one in ranges), "nothing is forgotten needlessly"
    if not overlaps(list(begun & ranges)):
        assert begun & ranges <= kept
    free = gaps(list(ranges))
    for i in (*range(32), LARGEST_ID - 2, LARGEST_ID - 1, LARGEST_ID):
        covered = any(r.lo <= i <= r.hi for r in ranges)
        assert sum(g.lo <= i <= g.hi for g in free) == (not covered)


def fill(database: Connection, *spans: tuple[int, int]) -> None:
    for lo, hi in spans:
        database.execute(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
            "SELECT i, 'Text ' || i FROM generate_series(%s::int, %s) AS i",
            [lo, hi],
        )


def test_an_overlapping_range_is_refused_from_any_side(instance: dg.DagsterInstance) -> None:
    register_ranges(instance, [IdRange(1, 10)])
    register_ranges(instance, [IdRange(1, 10), IdRange(11, 20)])
    for wrong in (IdRange(10, 10), IdRange(5, 30), IdRange(0, 99)):
        with pytest.raises(UserError, match="overlaps"):
            register_ranges(instance, [IdRange(21, 25), wrong] if wrong.lo == 10 else [wrong])
        with pytest.raises(UserError, match="overlaps"):
            instance.add_dynamic_partitions("id_range", [wrong.key])
    with pytest.raises(UserError, match="'everything' is not a valid ID range"):
        instance.add_dynamic_partitions("id_range", ["everything"])
    assert registered_ranges(instance) == [IdRange(1, 10), IdRange(11, 20)]
    forget_keys(instance, [IdRange(11, 20).key])
    register_ranges(instance, [IdRange(15, 20)])
    instance.add_dynamic_partitions("preset", ["everything"])


def test_of_sessions_that_add_at_once_one_wins(instance: dg.DagsterInstance) -> None:
    def add(ranges: list[IdRange]) -> bool:
        with open_instance() as own:
            try:
                register_ranges(own, ranges)
            except UserError:
                return False
            return True

    tilings = [[IdRange(lo, lo + size - 1) for lo in range(0, 60, size)] for size in (4, 5, 6, 10)]
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(add, tilings))
    assert sum(added) == 1
    assert registered_ranges(instance) == tilings[added.index(True)]


def test_two_commands_at_once_cut_one_set_of_ranges(
    instance: dg.DagsterInstance, database: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(database, (1, 400))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda rows: ranges.ranges(rows=rows), (7, 11)))
    output = capsys.readouterr().out
    assert output.count("0 ID ranges added, ") == 1, output
    assert overlaps(registered_ranges(instance)) == []
    assert len(gaps(registered_ranges(instance))) == 2


@pytest.fixture
def damaged(instance: dg.DagsterInstance, database: Connection) -> dg.DagsterInstance:
    """Partitions as an earlier version, or another program, may have left them."""
    fill(database, (1, 60))
    for key in ("everything", "0000000001-0000000020", "0000000015-0000000030", "0000000021-0000000040"):
        database.execute(
            "INSERT INTO dagster.dynamic_partitions (partitions_def_name, partition) VALUES ('id_range', %s)", [key]
        )
    return instance


def test_wrong_keys_are_named_and_repaired(run: Run, damaged: dg.DagsterInstance, database: Connection) -> None:
    database.execute("INSERT INTO sum_assets.range_profile VALUES (15, 30, 16, '{}')")
    for command in ("verify", "status", "ranges"):
        code, _, err = run(command)
        assert code == 1
        assert "1 partition key is not an ID range, the first 'everything'" in err
        assert "2 ID ranges overlap others" in err
        assert err.count("`sum-assets ranges --repair`") == 2
    assert "20 rows of the source are in no ID range, the first has ID 41" in run("verify")[2]
    with pytest.raises(UserError, match="overlaps"):
        register_ranges(damaged, [IdRange(40, 50)])
    register_ranges(damaged, [IdRange(41, 50)])
    code, out, _ = run("ranges", "--repair")
    assert code == 0
    assert out.splitlines() == [
        "forgotten: 0000000001-0000000020",
        "forgotten: 0000000021-0000000040",
        "forgotten: everything",
    ], "the range that was begun stays"
    code, _, err = run("verify")
    assert (code, "34 rows of the source are in no ID range, the first has ID 1. Add" in err) == (1, True), err
    assert run("ranges", "--rows", "16")[0] == 0
    assert registered_keys(damaged) == [
        "0000000001-0000000014", "0000000015-0000000030", "0000000031-0000000040", "0000000041-0000000050",
        "0000000051-0000000060",
    ]  # fmt: skip
    assert run("verify")[0] == 0
    assert run("status")[:2] == (0, "5 not begun\nabstracts: 60 not begun\n")


def test_thousands_of_ranges_are_forgotten_at_once(
    run: Run, instance: dg.DagsterInstance, database: Connection
) -> None:
    fill(database, (1, 3000))
    assert run("ranges", "--rows", "1")[0] == 0
    started = time.perf_counter()
    code, out, _ = run("ranges", "--rows", "2", "--reset")
    assert (code, "1,500 in all" in out) == (0, True), out
    assert time.perf_counter() - started < 8  # one by one, a minute
    assert len(registered_ranges(instance)) == 1500


def test_a_range_that_was_deleted_is_cut_again(run: Run, instance: dg.DagsterInstance, database: Connection) -> None:
    fill(database, (1, 10), (15, 20), (31, 40))
    run("ranges", "--rows", "9")
    first, second, third = registered_ranges(instance)
    forget_keys(instance, [second.key])
    code, _, err = run("status")
    assert (code, "rows of the source are in no ID range" in err) == (1, True)
    assert run("ranges", "--rows", "5")[0] == 0
    added = [r for r in registered_ranges(instance) if r not in (first, third)]
    assert (added[0].lo, added[-1].hi) == (second.lo, second.hi)
    assert run("status")[0] == 0
