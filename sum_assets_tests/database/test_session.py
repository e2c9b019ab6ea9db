"""What a session relies on holds, however the server, the database, the role and the environment are set."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import Connection, conninfo

from sum_assets.abstract import Rejection, Summary
from sum_assets.database import connection as db
from sum_assets.database.characters import storable, unstorable
from sum_assets.database.connection import connect, transaction
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.database.results import ResultStore, storable_results
from sum_assets.database.schema import migrate
from sum_assets.database.source import read_abstracts
from sum_assets.database.status import range_status
from sum_assets.database.verify import verify_range
from sum_assets.id_range import IdRange
from sum_assets.ingest.load import load_file
from sum_assets.paths import URL_VARIABLE

Run = Callable[..., tuple[int, str, str]]
RANGE = IdRange(1, 3)
STORE = ResultStore("f", "r")


@pytest.fixture
def other_encoding(server_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"encoded_{request.param.lower()}"
    with connect(server_url) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE 'C' TEMPLATE template0".encode())
        url = conninfo.make_conninfo(server_url, dbname=name)
        with connect(url) as made:
            migrate(made)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def fill(connection: Connection, texts: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)", list(enumerate(texts, 1))
        )


def write(connection: Connection, texts: list[str]) -> list[Summary | Rejection]:
    STORE.register(connection, {})
    abstracts = read_abstracts(connection, range(1, len(texts) + 1))
    hashes = {a.abstract_id: a.source_hash for a in abstracts}
    results = storable_results(connection, [Summary(i, t, 1, 1, False, "stop") for i, t in enumerate(texts, 1)])
    STORE.write(connection, results, hashes)
    return results


@pytest.mark.parametrize(
    "setting",
    [
        "standard_conforming_strings = off",
        "datestyle = 'German'",
        "datestyle = 'SQL, DMY'",
        "client_encoding = 'LATIN1'",
        "client_encoding = 'SQL_ASCII'",
        "bytea_output = 'escape'",
        "timezone = '<+0330>-03:30'",
        "default_transaction_isolation = 'serializable'",
        "search_path = ''",
        "search_path = hostile, public, pg_temp",
        "intervalstyle = 'sql_standard'",
        "array_nulls = off",
        "backslash_quote = off",
    ],
)
def test_settings_of_the_database_change_nothing(
    database_url: str, database: Connection, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("CREATE SCHEMA hostile CREATE TABLE incoming_summary (i int) CREATE TABLE load_record (i int)")
    name = conninfo.conninfo_to_dict(database_url)["dbname"]
    version = database.info.server_version
    if setting.startswith("standard") and version >= 190000:
        pytest.skip("always on")
    database.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    texts = ["β-carotene \\ 'x'", "naïve", "𐍈 ≤ 1"]
    with connect(database_url) as connection:
        fill(connection, texts)
        assert [a.text for a in read_abstracts(connection, [1, 2, 3])] == texts
        assert write(connection, texts) == [Summary(i, t, 1, 1, False, "stop") for i, t in enumerate(texts, 1)]
        assert STORE.pending(connection, RANGE, None) == []
        state = verify_range(connection, RANGE)
        assert (state.summarized, state.pending, state.stale) == (3, 0, 0)
        with transaction(connection):
            row = connection.execute("SHOW transaction_isolation").fetchone()
            assert row == ("read committed",)
    with open_database(database_url) as opened:
        with pytest.raises(ValueError, match="no"), range_lease(opened, RANGE, "first"):
            raise ValueError("no")
        with range_lease(opened, RANGE, "second"):
            (status,) = opened.run(range_status, [RANGE])
    assert (status.state, status.detail[:10]) == ("running", "run second")


@pytest.mark.parametrize("other_encoding", ["LATIN1", "WIN1252", "EUC_JP", "KOI8R"], indirect=True)
def test_a_summary_that_the_database_cannot_hold_is_one_rejection(other_encoding: str) -> None:
    with connect(other_encoding) as connection:
        fill(connection, ["one", "two", "three"])
        good, bad, last = write(connection, ["plain", "a \N{CUNEIFORM SIGN A} b", "too"])
        assert isinstance(good, Summary)
        assert isinstance(last, Summary)
        assert isinstance(bad, Rejection)
        assert bad.reason == "unstorable_character"
        assert "U+12000 (CUNEIFORM SIGN A) in the encoding" in bad.detail
        state = verify_range(connection, RANGE)
        assert (state.summarized, state.rejected, state.pending) == (2, 1, 0)
    with (
        open_database(other_encoding) as opened,
        pytest.raises(ValueError, match="\N{CUNEIFORM SIGN A}"),
        range_lease(opened, RANGE, "first"),
    ):
        raise ValueError("\N{CUNEIFORM SIGN A}")
    with connect(other_encoding) as connection:
        row = connection.execute("SELECT failure FROM sum_assets.range_lease").fetchone()
        assert row == ("\\U00012000",)


@pytest.mark.parametrize("other_encoding", ["LATIN1"], indirect=True)
def test_loading_skips_one_record_that_the_database_cannot_hold(other_encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text("abstract_id,title,abstract\n1,β,good\n2,t,β-carotene\n3,t,naïve\n", encoding="utf-8")
    with connect(other_encoding) as connection:
        report = load_file(connection, path)
        assert (report.read, report.inserted, report.skipped) == (3, 2, {"unstorable_character": 1})
        assert report.examples["unstorable_character"] == [
            "ID 2, U+03B2 (GREEK SMALL LETTER BETA) in the encoding LATIN1"
        ]
        rows = connection.execute("SELECT abstract_id, title, abstract FROM sum_assets.corpus_abstract").fetchall()
        assert sorted(rows) == [(1, None, "good"), (3, "t", "naïve")]


@pytest.mark.parametrize("other_encoding", ["LATIN1", "LATIN9", "WIN1251", "WIN1252", "EUC_KR"], indirect=True)
def test_what_is_storable_is_what_the_server_takes(other_encoding: str) -> None:
    with connect(other_encoding) as connection:
        for character in "é€βжЖ\x85\x9d\u0081가ㄱ丁𐍈½":
            try:
                connection.execute("SELECT %s::text", [character])
                taken = True
            except psycopg.errors.UntranslatableCharacter:
                taken = False
            assert (unstorable(connection, character) is None) == taken, character


def test_a_utf8_database_holds_all_but_nul_and_halves_of_characters(database: Connection) -> None:
    assert unstorable(database, "β 𐍈 \ufffe") is None
    assert unstorable(database, "a\x00") == "U+0000 (NULL)"
    assert unstorable(database, "a\ud800") == "U+D800 (no name) in the encoding UTF8"
    assert storable(database, "a\x00\ud800β") == "a\\ud800\\u03b2"


def test_limits_end_with_the_transaction(database: Connection) -> None:
    """So that a pooler hands them to nobody else."""
    settings = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout", "search_path")
    query = "SELECT current_setting(s) FROM unnest(%s::text[]) AS s"
    before = database.execute(query, [list(settings)]).fetchall()
    with transaction(database, one_snapshot=True):
        assert database.execute(query, [list(settings)]).fetchall()[:2] == [("1min",), ("1min",)]
    assert database.execute(query, [list(settings)]).fetchall() == before


def test_a_transaction_whose_client_is_silent_is_ended(
    database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "IDLE_TIMEOUT", "100ms")
    with connect(database_url) as silent:
        with ExitStack() as stack:
            stack.enter_context(transaction(silent))
            silent.execute("LOCK sum_assets.range_lease")
            database.execute("SET lock_timeout = '5s'")
            database.execute("DELETE FROM sum_assets.range_lease")
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                silent.execute("SELECT 1")
            stack.pop_all()
        assert silent.closed


def test_dagsters_storage_opens_under_any_settings(
    instance: dg.DagsterInstance, database: Connection, database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = conninfo.conninfo_to_dict(database_url)["dbname"]
    for setting in ("standard_conforming_strings = off", "datestyle = 'German'", "client_encoding = 'LATIN1'"):
        database.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    fill(database, ["β"])
    monkeypatch.setenv(URL_VARIABLE, database_url)
    assert run("ranges", "--rows", 1)[0] == 0
    assert run("status")[:2] == (0, "1 not begun\nabstracts: 1 not begun\n")
