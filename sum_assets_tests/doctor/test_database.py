"""Findings on a real PostgreSQL: up and down, with and without tables, rights and an index."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection, conninfo

from sum_assets.database.device_losses import LOSSES, record_loss
from sum_assets.database.schema import NEWEST
from sum_assets.database.source_table import point_source
from sum_assets.database.verify import verify_range
from sum_assets.doctor.database import look_at_database
from sum_assets.id_range import IdRange
from sum_assets.paths import URL_VARIABLE
from sum_assets_tests.database.fake_server import refusing

Found = dict[str, tuple[str, str]]


def look() -> Found:
    """Return the last finding on each subject."""
    return {finding.subject: (finding.level, finding.message) for finding in look_at_database()}


def levels(found: Found) -> dict[str, str]:
    return {subject: level for subject, (level, _) in found.items()}


@pytest.fixture
def article(database: Connection) -> None:
    """A table of the user's with a hundred rows, and no index."""
    database.execute("CREATE TABLE article (id bigint, abstract text)")
    database.execute("INSERT INTO article SELECT i, 'Text ' || i FROM generate_series(1, 100) AS i")


@pytest.mark.usefixtures("article")
def test_a_database_that_is_ready(database: Connection) -> None:
    point_source(database, "article", "id", "abstract")
    found = look()
    assert levels(found) == {"server": "ok", "rights": "ok", "tables": "ok", "source": "ok", "index": "warning"}
    assert found["server"][1].startswith("PostgreSQL 1")
    assert found["tables"][1] == f"the schema sum_assets is at version {NEWEST} of {NEWEST}"
    assert found["source"][1].startswith("sum_assets.source_abstract reads public.article: rows unknown until ANALYZE")
    assert found["index"][1].endswith('CREATE INDEX ON "public"."article" (("id"));')
    database.execute('CREATE INDEX ON "public"."article" (("id")); ANALYZE article')
    found = look()
    assert found["index"] == ("ok", "an ID range is read by an index")
    assert "about 100 rows, as the planner estimates" in found["source"][1]


@pytest.mark.usefixtures("article")
def test_a_count_that_was_recorded_is_used(database: Connection) -> None:
    point_source(database, "article", "id", "abstract")
    database.execute("INSERT INTO sum_assets.id_range VALUES ('[1,100]'), ('[101,200]')")
    state = verify_range(database, IdRange(1, 100))
    record = (
        "INSERT INTO sum_assets.range_count (lo, hi, counted_at, state) "
        "VALUES (%s, %s, now(), jsonb_build_object('source', %s::bigint))"
    )
    database.execute(record, [1, 100, state.source])
    assert "as last counted" not in look()["source"][1], "one of two ranges is not counted"
    database.execute(record, [101, 200, 7])
    assert "public.article: 107 rows, as last counted" in look()["source"][1]


def test_an_empty_source(database: Connection) -> None:
    level, message = look()["source"]
    assert (level, "which is empty. Load abstracts, `sum-assets load FILE`" in message) == ("warning", True)


@pytest.mark.usefixtures("article")
def test_a_source_that_was_dropped_does_not_hide_the_rest(database: Connection, instance: object) -> None:
    point_source(database, "article", "id", "abstract")
    database.execute("DROP TABLE article CASCADE")
    found = look()
    assert levels(found) == {
        "server": "ok",
        "rights": "ok",
        "tables": "ok",
        "source": "failure",
        "ID ranges": "warning",
    }
    assert "it was dropped with a table that it read (public.article)" in found["source"][1]


def test_no_tables_yet(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    found = look()
    assert levels(found) == {"server": "ok", "rights": "ok", "tables": "warning"}
    assert found["tables"][1] == "Not set up yet. Make them: `sum-assets init`."


@pytest.mark.usefixtures("instance")
def test_half_of_the_tables_is_a_failure(database: Connection) -> None:
    database.execute("DROP SCHEMA sum_assets CASCADE")
    found = look()
    assert levels(found)["tables"] == "failure"
    assert found["tables"][1].endswith("has no schema sum_assets. Run `sum-assets init`.")
    database.execute("DROP SCHEMA dagster CASCADE; CREATE SCHEMA sum_assets; CREATE TABLE sum_assets.id_range (i int)")
    assert look()["tables"][0] == "failure"
    database.execute("DROP TABLE sum_assets.id_range")
    assert look()["tables"][0] == "warning", "the schema alone was made for us"


def test_tables_of_an_older_version(database: Connection) -> None:
    database.execute("DELETE FROM sum_assets.schema_migration WHERE version > 12")
    found = look()
    assert levels(found) == {"server": "ok", "rights": "ok", "tables": "failure"}
    assert found["tables"][1].endswith(f"is at version 12 of {NEWEST}. Run `sum-assets init`.")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", "Check that the server runs"),
        ("mysql://u:secret@h/x", "is not a valid PostgreSQL URL"),
        ("", "No database. Name one"),
    ],
)
def test_a_database_that_does_not_answer(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    found = look()
    assert levels(found) == {"server": "failure"}
    assert message in found["server"][1]
    assert "secret" not in found["server"][1]


def test_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing("28P01", "password authentication failed for user »u«") as port:
        monkeypatch.setenv(URL_VARIABLE, f"postgresql://u:secret@127.0.0.1:{port}/x")
        level, message = look()["server"]
    assert (level, "Check the user and password in SUM_ASSETS_DATABASE_URL" in message) == ("failure", True)


@pytest.fixture
def other_url(server_url: str, database_url: str) -> Iterator[str]:
    """The URL for a role of the server that has no rights of its own."""
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute("CREATE ROLE d_other LOGIN CONNECTION LIMIT 15")
        yield conninfo.make_conninfo(database_url, user="d_other")
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP OWNED BY d_other")
        server.execute("DROP ROLE d_other")


def test_a_role_without_rights(database: Connection, other_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, other_url)
    found = look()
    level, message = found["rights"]
    assert level == "failure"
    assert "It lacks " in message
    assert "more rights. Make it a member of the writer that `sum-assets init --roles` makes." in message
    assert "15 connections are free" in found["connections"][1]
    database.execute("GRANT USAGE ON SCHEMA sum_assets TO d_other")
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA sum_assets TO d_other")
    found = look()
    assert (found["tables"][0], found["source"][0]) == ("ok", "warning")
    assert "It lacks DELETE on sum_assets.abstract_summary, INSERT on sum_assets.abstract_summary" in found["rights"][1]
    database.execute("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sum_assets TO d_other")
    database.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA sum_assets TO d_other")
    database.execute("REVOKE INSERT, UPDATE, DELETE ON sum_assets.schema_migration FROM d_other")
    assert look()["rights"] == ("ok", "this role may do all that runs do")


def test_a_role_that_may_not_make_the_tables(
    server_url: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute("CREATE ROLE d_poor LOGIN")
        monkeypatch.setenv(URL_VARIABLE, conninfo.make_conninfo(empty_database_url, user="d_poor"))
        level, message = look()["rights"]
        server.execute("DROP ROLE d_poor")
    assert (level, "Run `sum-assets init` as a role with CREATE" in message) == ("failure", True)


@pytest.mark.usefixtures("database")
def test_settings_that_hurt_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=5s -c default_transaction_read_only=on")
    found = look()
    assert found["timeout"][0] == "warning"
    assert "statement_timeout is 5 s" in found["timeout"][1]
    level, message = found["server"]
    assert (level, "It is read-only for this role" in message) == ("failure", True)


def test_a_device_in_quarantine(database: Connection) -> None:
    for _ in range(LOSSES):
        record_loss(database, "cuda:1", "CUDA error: unspecified launch failure.", "run")
    found = {finding.subject: finding for finding in look_at_database(["cuda:0", "cuda:1"])}
    assert "cuda:0" not in found
    assert (found["cuda:1"].level, "`sum-assets devices reset`" in found["cuda:1"].message) == ("failure", True)
