"""What `verify` and `status` find, that the command they name fixes it, and that nothing is withdrawn under a run."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.database.range_lease import holders, range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.id_range import IdRange

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lead(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("resources: {gpu: {config: {engine: lead}}}")
    return path


@pytest.fixture
def keys(run: Run, database: Connection, instance: dg.DagsterInstance, lead: Path) -> list[str]:
    """Four ranges of ten, published."""
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, 'Text ' || i || '.' FROM generate_series(1, 40) AS i"
    )
    run("ranges", "--rows", 10)
    keys = run("ranges")[1].split()
    assert run("materialize", keys[0], keys[-1], "-c", lead)[0] == 0
    assert run("verify")[0] == run("status")[0] == 0
    return keys


def test_before_there_is_a_range(run: Run, instance: dg.DagsterInstance, database: Connection) -> None:
    assert run("verify") == run("status") == (0, "There are no ID ranges yet.\n", "")
    assert json.loads(run("verify", "--json")[1])["totals"]["published"] == 0
    database.execute("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (7, 'x')")
    for command in ("verify", "status"):
        code, out, err = run(command)
        assert (code, out) == (1, "There are no ID ranges yet.\n")
        assert "1 row of the source is in no ID range, the first has ID 7" in err
    assert run("ranges", "--rows", 10)[0] == run("verify")[0] == 0


TABLES = (
    "sum_assets.corpus_abstract", "sum_assets.generated_summary", "sum_assets.abstract_summary",
    "dagster.dynamic_partitions",
)  # fmt: skip
DELETE_SECOND = "DELETE FROM dagster.dynamic_partitions WHERE partition LIKE '%11-%'"
DAMAGES = (
    ("TRUNCATE sum_assets.corpus_abstract", "vanished"),
    ("DELETE FROM sum_assets.corpus_abstract WHERE abstract_id BETWEEN 11 AND 20 OR abstract_id > 30", "vanished"),
    ("DELETE FROM sum_assets.abstract_summary WHERE abstract_id = 5", "not_whole"),
    (
        "UPDATE sum_assets.corpus_abstract SET abstract = 'Other.' WHERE abstract_id > 25; "
        "DELETE FROM sum_assets.corpus_abstract WHERE abstract_id = 15",
        "not_whole",
    ),
    (DELETE_SECOND, "uncovered"),
    ("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (0, 'x'), (99, 'y')", "uncovered"),
    (f"{DELETE_SECOND}; DELETE FROM sum_assets.corpus_abstract WHERE abstract_id BETWEEN 11 AND 20", "stray"),
    ("UPDATE sum_assets.abstract_summary SET abstract_id = 1 - 40 WHERE abstract_id = 40", "stray"),
    ("UPDATE dagster.dynamic_partitions SET partition = 'all' WHERE partition LIKE '%11-%'", "invalid_keys"),
    (
        "INSERT INTO dagster.dynamic_partitions (partitions_def_name, partition) "
        "VALUES ('id_range', '0000000005-0000000025')",
        "overlaps",
    ),
    ("DROP VIEW sum_assets.source_abstract", "gone"),
    ("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (-3, 'x')", "unusable_ids"),
)


def test_each_problem_is_an_error_and_the_commands_that_are_named_fix_it(
    run: Run, keys: list[str], database: Connection, lead: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lead.parent)
    database.execute("CREATE SCHEMA kept")
    for table in TABLES:
        database.execute(f"CREATE TABLE kept.{table.partition('.')[2]} AS TABLE {table}".encode())
    for damage, kind in DAMAGES:
        database.execute(damage.encode())
        if kind != "gone":
            code, out, _ = run("verify", "--json")
            assert (code, kind in [problem["kind"] for problem in json.loads(out)["problems"]]) == (1, True), damage
        follow_the_commands(run)
        row = database.execute(
            "SELECT count(*) FROM sum_assets.abstract_summary AS p RIGHT JOIN sum_assets.source_abstract AS s "
            "USING (abstract_id) WHERE p.summary <> s.abstract"
        ).fetchone()
        assert row == (0,), f"{damage}: the engine copies short texts"
        for table in TABLES:
            database.execute(f"DELETE FROM {table}".encode())
            database.execute(f"INSERT INTO {table} TABLE kept.{table.partition('.')[2]}".encode())


def follow_the_commands(run: Run) -> None:
    """Do what `verify` says until it finds nothing; `status` says the same."""
    for _ in range(4):
        code, _, err = run("verify")
        assert run("status")[::2] == (code, err.lstrip()), "status sees what verify sees"
        if code == 0:
            return
        command = shlex.split(re.findall("`sum-assets ([^`]*)`", err)[0])
        code, _, err = run(*command, *(["--yes"] if command[0] == "unpublish" else []))
        assert code == 0, (command, err)
    pytest.fail(f"not fixed: {run('verify')[2]}")


def test_nothing_is_withdrawn_or_deleted_under_a_run(run: Run, keys: list[str], database: Connection) -> None:
    (fingerprint,) = database.execute("SELECT fingerprint FROM sum_assets.summarizer_config").fetchone() or ("",)
    with open_database() as other, range_lease(other, IdRange.from_key(keys[1]), "somebody"):
        for command in (
            ("unpublish",), ("unpublish", "--range", keys[1]), ("discard", "--fingerprint", fingerprint),
        ):  # fmt: skip
            code, _, err = run(*command, "--yes")
            assert (code, "is being worked on by run somebody on" in err) == (1, True), err
        assert run("unpublish", "--range", keys[0], "--yes") == (0, "10 summaries withdrawn\n", "")
        assert [one["state"] for one in json.loads(run("status", "--json")[1])["ranges"]] == [
            "unpublished", "running", "done", "done"
        ]  # fmt: skip
    code, _, err = run("discard", "--fingerprint", fingerprint, "--yes")
    assert (code, f"30 summaries of fingerprint {fingerprint} are published" in err) == (1, True)
    assert holders(database) == [], "a refusal is no failed run"
    assert "exclude each other" in run("unpublish", "--range", keys[0], "--outside-ranges", "--yes")[2]
    assert run("unpublish", "--yes") == (0, "30 summaries withdrawn\n", "")
    assert run("discard", "--fingerprint", fingerprint, "--yes")[0] == 0
    assert run("status")[:2] == (0, "4 not begun\nabstracts: 40 not begun\n")
