"""Tracked edits: what tracking finds is what a full scan finds, whoever edits, and whenever it commits."""

from collections.abc import Callable

import dagster as dg
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from sum_assets.database.connection import connect
from sum_assets.database.count_ranges import count_edited
from sum_assets.database.publish import publish
from sum_assets.database.range_count import count_range, recorded_counts
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.database.source_change import is_tracking, stop_tracking, take_changes, track_changes
from sum_assets.database.source_table import point_source
from sum_assets.database.status import range_status
from sum_assets.database.verify import verify_range
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

Run = Callable[..., tuple[int, str, str]]
RANGES = [IdRange(1, 9), IdRange(10, 19), IdRange(20, 29)]
FIRST, SECOND, THIRD = RANGES


@pytest.fixture
def tracked(database: Connection) -> Connection:
    """A table of the user's, tracked; all of its three ranges are published and counted."""
    database.execute(
        "CREATE TABLE article (pmcid text, abstract varchar, other int); "
        "INSERT INTO article SELECT 'PMC' || i, 'Text ' || i FROM generate_series(1, 29) AS i; "
        "INSERT INTO sum_assets.summarizer_config VALUES ('f', '{}')"
    )
    point_source(database, "article", "pmcid", "abstract")
    database.execute(
        "INSERT INTO sum_assets.generated_summary "
        "SELECT 'f', abstract_id, sum_assets.source_hash(abstract), 'short', 1, 1, false, 'stop', 'r' "
        "FROM sum_assets.source_abstract"
    )
    assert track_changes(database) == "public.article"
    count_edited(database, RANGES)
    for id_range in RANGES:
        publish(database, id_range, "f")
    assert uncounted(database) == []
    return database


def uncounted(connection: Connection) -> list[IdRange]:
    recorded = recorded_counts(connection)
    return [r for r in RANGES if r not in recorded]


@pytest.mark.parametrize(
    ("edit", "touched"),
    [
        ("UPDATE article SET abstract = 'New' WHERE pmcid = 'PMC3'", [FIRST]),
        ("DELETE FROM article WHERE pmcid IN ('PMC9', 'PMC20')", [FIRST, THIRD]),
        ("UPDATE article SET pmcid = 'PMC300' WHERE pmcid = 'PMC12'", [SECOND]),
        ("UPDATE article SET pmcid = 'PMC21' WHERE pmcid = 'PMC12'", [SECOND, THIRD]),
        ("INSERT INTO article VALUES ('PMC15', 'Twice')", [SECOND]),
        ("COPY article FROM PROGRAM 'echo PMC15,Copied,1' (FORMAT csv)", [SECOND]),
        ("UPDATE article SET other = 1", []),
        ("UPDATE article SET abstract = abstract", []),
        ("INSERT INTO article VALUES ('PMC77', 'Above'), ('bad', 'x'), (NULL, 'y')", []),
        ("TRUNCATE article", RANGES),
        ("ALTER TABLE article RENAME pmcid TO id; UPDATE article SET abstract = 'x' WHERE id = 'PMC3'", RANGES),
    ],
)
def test_an_edit_drops_the_counts_of_its_ranges_alone(tracked: Connection, edit: str, touched: list[IdRange]) -> None:
    tracked.execute(edit.encode())
    assert uncounted(tracked) == touched, "also for a reader, who takes nothing"
    take_changes(tracked, RANGES)
    assert tracked.execute("SELECT count(*) FROM sum_assets.source_change").fetchone() == (0,)
    assert uncounted(tracked) == touched
    found = count_edited(tracked, RANGES)
    assert {r for r in touched if found[r].to_do} == {r for r in touched if not verify_range(tracked, r).sound}
    assert uncounted(tracked) == []


def test_status_counts_edited_ranges_first(tracked: Connection) -> None:
    tracked.execute("UPDATE article SET abstract = 'New' WHERE pmcid = 'PMC25'")
    assert [one.state for one in range_status(tracked, RANGES)] == ["done", "done", "stale"]
    assert [one.state for one in range_status(tracked, RANGES, -1)] == ["done", "done", "uncounted"]


def test_what_commits_late_is_found_late(tracked: Connection, database_url: str) -> None:
    with psycopg.connect(database_url) as early, psycopg.connect(database_url) as other:
        early.execute("UPDATE article SET abstract = 'New' WHERE pmcid = 'PMC3'")
        other.execute("UPDATE article SET abstract = 'New' WHERE pmcid = 'PMC12'")  # waits for nobody
        other.commit()
        take_changes(tracked, RANGES)
        assert uncounted(tracked) == [SECOND]
        early.commit()
    assert uncounted(tracked) == [FIRST, SECOND]
    take_changes(tracked, RANGES)
    assert uncounted(tracked) == [FIRST, SECOND]


def test_an_edit_during_a_run_or_a_count_is_not_lost(tracked: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_database() as database, range_lease(database, FIRST, "run") as lease:
        changes = "SELECT changes FROM sum_assets.range_count WHERE lo = 1"
        before = tracked.execute(changes.encode()).fetchone()
        tracked.execute("UPDATE article SET abstract = 'New' WHERE pmcid = 'PMC3'")
        take_changes(tracked, RANGES)
        assert tracked.execute(changes.encode()).fetchone() != before
        with pytest.raises(UserError, match="not whole under fingerprint f: 1 of 9"):
            database.run(publish, FIRST, "f", lease)
    assert count_edited(tracked, RANGES)[FIRST].to_do

    def verify_slowly(connection: Connection, id_range: IdRange) -> object:
        state = verify_range(connection, id_range)
        with connect() as other:
            other.execute("UPDATE article SET abstract = 'Newer' WHERE pmcid = 'PMC12'")
            take_changes(other, RANGES)
        return state

    monkeypatch.setattr("sum_assets.database.range_count.verify_range", verify_slowly)
    count_range(tracked, SECOND)
    assert uncounted(tracked) == [SECOND]


def test_writers_need_no_right_of_ours(tracked: Connection, server_url: str) -> None:
    tracked.execute("DROP ROLE IF EXISTS scribe; CREATE ROLE scribe; GRANT ALL ON article TO scribe; SET ROLE scribe")
    try:
        tracked.execute("UPDATE article SET abstract = 'New' WHERE pmcid = 'PMC3'")
    finally:
        tracked.execute("RESET ROLE; DROP OWNED BY scribe; DROP ROLE scribe")
    assert uncounted(tracked) == [FIRST]


@pytest.fixture
def article(database: Connection) -> Connection:
    database.execute("CREATE TABLE article (id int PRIMARY KEY, abstract text)")
    point_source(database, "article", "id", "abstract")
    return database


def test_what_cannot_be_tracked_is_refused(article: Connection) -> None:
    article.execute(
        "CREATE VIEW seen AS SELECT * FROM article; "
        "CREATE TABLE parted (id int, abstract text) PARTITION BY RANGE (id); "
        "CREATE TABLE heir () INHERITS (article)"
    )
    for name in ("seen", "parted", "article", "heir"):
        point_source(article, name, "id", "abstract")
        with pytest.raises(UserError, match=rf"Changes of public.{name} cannot be tracked.*`sum-assets verify` finds"):
            track_changes(article)
    point_source(article, "sum_assets.source_abstract", "", "")
    with pytest.raises(UserError, match=r"init --source SCHEMA\.TABLE --track-changes"):
        track_changes(article)
    assert is_tracking(article) == (False, False)


def test_it_is_turned_on_and_off_and_follows_the_source(
    run: Run, article: Connection, instance: dg.DagsterInstance
) -> None:
    for _ in range(2):
        assert "changes of public.article are tracked" in run("init", "--track-changes")[1]
    article.execute("INSERT INTO article VALUES (1, 'One')")
    assert run("ranges", "--rows", 5)[0] == 0
    assert run("verify")[0] == run("status")[0] == 0
    article.execute("ALTER TABLE article DISABLE TRIGGER sum_assets_update")
    code, _, err = run("status")
    assert (code, "gone or disabled. Make them again, `sum-assets init --track-changes`" in err) == (1, True), err
    assert run("init", "--track-changes")[0] == run("status")[0] == 0
    article.execute("CREATE TABLE b (id int PRIMARY KEY, abstract text)")
    assert "changes are not tracked any more" in run("init", "--source", "b", "--id-column", "id")[1]
    assert is_tracking(article) == (False, False)
    assert run("init", "--source", "b", "--id-column", "id", "--track-changes")[0] == 0
    assert is_tracking(article) == (True, True)
    assert run("init", "--no-track-changes")[0] == 0
    assert is_tracking(article) == (False, False)
    stop_tracking(article)


EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "update", "delete", "move", "take"]), st.integers(1, 35), st.integers(1, 35)),
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_tracking_finds_what_a_full_scan_finds(tracked: Connection, edits: list[tuple[str, int, int]]) -> None:
    for kind, one, two in edits:
        a, b = f"PMC{one}", f"PMC{two}"
        if kind == "insert":
            tracked.execute("INSERT INTO article VALUES (%s, %s)", [a, f"Text {two}"])
        elif kind == "update":
            tracked.execute("UPDATE article SET abstract = %s WHERE pmcid IN (%s, %s)", [f"Text {two}", a, b])
        elif kind == "delete":
            tracked.execute("DELETE FROM article WHERE pmcid = %s", [a])
        elif kind == "move":
            tracked.execute("UPDATE article SET pmcid = %s WHERE pmcid = %s", [b, a])
        else:
            take_changes(tracked, RANGES)
    count_edited(tracked, RANGES)
    recorded = {r: count.state for r, count in recorded_counts(tracked).items()}
    assert recorded == {r: verify_range(tracked, r) for r in RANGES}
