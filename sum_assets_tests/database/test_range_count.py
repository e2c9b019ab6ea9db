"""Recorded counts: they hold until somebody begins to change a range, and never say more than is there."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection
from psycopg.sql import Identifier

from sum_assets.database import corpus_status
from sum_assets.database.connection import connect
from sum_assets.database.coverage import Span, rows_in
from sum_assets.database.publish import publish, unpublish
from sum_assets.database.range_count import corpus_rows, count_range, record_new, recorded_counts
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.database.status import range_status
from sum_assets.database.verify import RangeState, verify_range
from sum_assets.id_range import IdRange
from sum_assets.ingest.load import load_file

Run = Callable[..., tuple[int, str, str]]
RANGE, NEXT = IdRange(1, 9), IdRange(10, 19)


@pytest.fixture
def results(database: Connection) -> Connection:
    """Two ranges with results that are not published."""
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, 'Text ' || i FROM generate_series(1, 19) AS i; "
        "INSERT INTO sum_assets.summarizer_config VALUES ('f', '{}'); "
        "INSERT INTO sum_assets.generated_summary "
        "SELECT 'f', abstract_id, sum_assets.source_hash(abstract), 'short', 1, 1, false, 'stop', 'r' "
        "FROM sum_assets.corpus_abstract"
    )
    return database


def states(database: Connection, seconds: float) -> list[str]:
    return [one.state for one in range_status(database, [RANGE, NEXT], seconds)]


def test_publishing_records_what_it_has_published(results: Connection) -> None:
    publish(results, RANGE, "f")
    assert states(results, -1) == ["done", "uncounted"]
    (recorded,) = recorded_counts(results).values()
    assert recorded.state == count_range(results, RANGE).state
    count_range(results, NEXT)
    assert states(results, -1) == ["done", "unpublished"]
    assert [one.recorded_at is None for one in range_status(results, [RANGE, NEXT])] == [True, True], "counted now"


def test_the_size_of_the_corpus_comes_from_the_last_counts(results: Connection) -> None:
    assert corpus_rows(results, 2) == 19, "counted now"
    for id_range in (RANGE, NEXT):
        count_range(results, id_range)
    results.execute("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (99, 'of no range')")
    assert corpus_rows(results, 2) == 19, "nothing was read for it"
    assert corpus_rows(results, 3) == 20, "a range was never counted"


def test_a_count_holds_until_a_run_begins(results: Connection) -> None:
    publish(results, RANGE, "f")
    with open_database() as database:
        with range_lease(database, IdRange(5, 12), "run") as lease:
            assert not recorded_counts(results)
            database.run(unpublish, IdRange(5, 12), lease)
            count_range(results, RANGE)
            assert not recorded_counts(results), "the run may change more"
        assert states(results, -1) == ["uncounted", "uncounted"], "a run that dies here leaves no count behind"
        count_range(results, RANGE)
        assert states(results, -1) == ["unpublished", "uncounted"]
        assert recorded_counts(results)[RANGE].state.published == 4


def test_a_count_that_a_run_has_overtaken_is_not_recorded(results: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify_slowly(connection: Connection, id_range: IdRange) -> RangeState:
        state = verify_range(connection, id_range)
        with open_database() as database, range_lease(database, RANGE, "run") as lease:
            database.run(publish, RANGE, "f", lease)
        return state

    monkeypatch.setattr("sum_assets.database.range_count.verify_range", verify_slowly)
    assert count_range(results, RANGE).state.published == 0
    assert recorded_counts(results)[RANGE].state.published == 9, "what the run recorded"


@pytest.mark.parametrize("meanwhile", ["load", "verify"])
def test_what_happens_while_a_range_is_published(
    results: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    (tmp_path / "more.csv").write_text("abstract_id,abstract\n3,Other\n")

    def verify_slowly(connection: Connection, id_range: IdRange, fingerprint: str | None) -> RangeState:
        with connect() as other:
            if meanwhile == "load":
                load_file(other, tmp_path / "more.csv")
            else:
                count_range(other, id_range)
        return verify_range(connection, id_range, fingerprint)

    monkeypatch.setattr("sum_assets.database.publish.verify_range", verify_slowly)
    with open_database() as database, range_lease(database, RANGE, "run") as lease:
        assert database.run(publish, RANGE, "f", lease).state.published == 9
    assert (RANGE in recorded_counts(results)) == (meanwhile == "verify")
    assert states(results, 60) == ["stale" if meanwhile == "load" else "done", "unpublished"]


def test_a_load_drops_the_counts_of_new_ranges(
    database: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more.csv").write_text("abstract_id,abstract\n3,New\n")
    database.execute("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (1, 'One'), (10, 'Ten')")

    def load() -> None:
        with connect() as other:
            load_file(other, tmp_path / "more.csv")

    loading = threading.Thread(target=load)

    def rows_slowly(connection: Connection, table: Identifier, ranges: Sequence[IdRange]) -> list[Span]:
        found = rows_in(connection, table, ranges)
        loading.start()
        loading.join(1)  # it waits for what counts
        return found

    monkeypatch.setattr("sum_assets.database.range_count.rows_in", rows_slowly)
    record_new(database, [RANGE, NEXT])
    loading.join()
    assert list(recorded_counts(database)) == [NEXT]


def test_the_longest_uncounted_are_counted_first(results: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for id_range in (RANGE, NEXT, RANGE):
        count_range(results, id_range)
    counted: list[IdRange] = []

    def verify_noted(connection: Connection, id_range: IdRange) -> RangeState:
        counted.append(id_range)
        return verify_range(connection, id_range)

    monkeypatch.setattr("sum_assets.database.status.verify_range", verify_noted)
    range_status(results, [RANGE, NEXT])
    assert counted == [NEXT, RANGE]


def test_status_says_what_is_recorded_and_verify_finds_what_is_not(
    run: Run, database: Connection, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_status, "range_status", lambda c, ranges, in_runs: range_status(c, ranges, -1, in_runs))
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, 'Text ' || i FROM generate_series(1, 30) AS i"
    )
    config = tmp_path / "run.yaml"
    config.write_text("resources: {gpu: {config: {engine: lead}}}")
    run("ranges", "--rows", 10)
    first, second, third = run("ranges")[1].split()
    assert run("status")[1].startswith(
        "3 not begun\nabstracts: 30 not begun\n3 of 3 as runs and `sum-assets verify` counted them, the first at "
    )
    assert run("materialize", first, second, "-c", config)[0] == 0
    assert run("materialize", third, "-c", config, "--select", "summaries")[0] == 0
    assert "2 done, 1 unpublished\nabstracts: 20 done, 10 unpublished\n" in run("status")[1]
    for damage, miscounted, says in (
        ("UPDATE sum_assets.corpus_abstract SET abstract = 'Other' WHERE abstract_id = 3", False, "1 stale"),
        ("DELETE FROM sum_assets.abstract_summary WHERE abstract_id = 14", True, "2 unpublished"),
    ):
        before = run("status")[1]
        database.execute(damage.encode())
        assert run("status")[1] == before
        code, _, err = run("verify")
        assert (code, "not whole, the first" in err) == (1, True)
        assert ("The recorded counts of 1 range were wrong, the first" in err) == miscounted
        code, out, err = run("status")
        assert (code, says in out, "not whole, the first" in err) == (1, True, True), out
    assert "were wrong" not in run("verify")[2], "it has recorded the right ones"
    (tmp_path / "more.csv").write_text("abstract_id,abstract\n25,New\n")
    assert run("load", tmp_path / "more.csv")[0] == 0
    assert "1 uncounted" in run("status")[1]
    assert "1 range has changed and not been counted since: `sum-assets verify` counts all." in run("status")[1]
