"""The command line, as its user meets it: what it prints, and its exit code."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest
import yaml
from psycopg import Connection, conninfo

from sum_assets.database import device_losses
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.id_range import IdRange
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE
from sum_assets_tests.tiny_models import sentence

Run = Callable[..., tuple[int, str, str]]
#: Each command that uses the database, with arguments that it takes.
COMMANDS = [
    ["init"],
    ["init", "--source", "sum_assets.corpus_abstract"],
    ["load", "FILE", "--id-column", "pmcid"],
    ["ranges"],
    ["ranges", "--rows", "5"],
    ["verify"],
    ["status"],
    ["publish", "f", "--yes"],
    ["unpublish", "--yes"],
    ["discard", "--fingerprint", "f", "--yes"],
    ["devices", "reset"],
    ["materialize", "0000000001-0000000002"],
    ["backfill"],
    ["sweep", "sweeps/cpu.yaml"],
    ["benchmark"],
    ["report"],
]


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.csv"
    rows = "".join(f"PMC{i},Title {i},{sentence(i, 5 + i % 9)}\n" for i in range(1, 41))
    path.write_text("pmcid,title,abstract\n" + rows + "PMCx,Bad,text\nPMC99,Nothing,\n")
    return path


@pytest.fixture
def run_config(t5: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    summarizer = {"model": str(t5), "prompt": "", "max_input_tokens": 32, "max_output_tokens": 16}
    gpu = {"device": "cpu", "precision": "float32", "batch_size": 2}
    path.write_text(yaml.safe_dump({"resources": {"summarizer": {"config": summarizer}, "gpu": {"config": gpu}}}))
    return path


def test_from_a_file_to_a_verified_table(
    run: Run, instance: dg.DagsterInstance, corpus_file: Path, run_config: Path, tmp_path: Path
) -> None:
    assert run("init") == (0, "schema sum_assets is up to date\n", "")
    code, _, err = run("load", corpus_file, "--id-column", "pmcid")
    assert code == 0
    assert "42 records, 40 new, 0 updated, 0 unchanged" in err
    assert "1 skipped: bad_id, first row 41, ID 'PMCx'" in err
    assert "1 skipped: no_abstract, first row 42" in err
    code, out, _ = run("ranges", "--rows", 15)
    assert (code, out) == (0, "3 ID ranges added, 3 in all: 0000000001-0000000014 to 0000000028-0000000040\n")
    _, out, _ = run("ranges")
    keys = out.split()
    assert run("verify")[0] == 0, "ranges not begun are no error"
    pilot = yaml.safe_load(run_config.read_text()) | {"ops": {"summaries": {"config": {"limit": 3}}}}
    (tmp_path / "pilot.yaml").write_text(yaml.safe_dump(pilot))
    assert run("materialize", keys[0], "-c", tmp_path / "pilot.yaml", "--select", "summaries")[0] == 0
    assert json.loads(run("verify", "--json")[1])["totals"]["summarized"] == 3
    assert "has no asset 'summary'" in run("materialize", keys[0], "--select", "summary")[2]
    assert run("materialize", keys[0], keys[1], "--config", run_config)[0] == 0
    code, out, _ = run("verify", "--json")
    report = json.loads(out)
    assert code == 0
    first = report["ranges"][0]
    assert {name: first[name] for name in ("key", "source", "summarized", "rejected", "published")} == {
        "key": keys[0], "source": 14, "summarized": 14, "rejected": 0, "published": 14
    }  # fmt: skip
    assert [first[name] for name in ("missing", "stale", "duplicates", "orphans")] == [0, 0, 0, 0]
    assert (report["totals"]["published"], report["totals"]["missing"], report["totals"]["uncovered"]) == (27, 13, 0)
    code, out, _ = run("unpublish", "--range", keys[0], "--yes")
    assert (code, out) == (0, "14 summaries withdrawn\n")
    assert run("verify", "--range", keys[0])[0] == 0


def test_a_published_range_that_is_not_whole_fails_verify(
    run: Run, database: Connection, instance: dg.DagsterInstance, corpus_file: Path, run_config: Path
) -> None:
    run("load", corpus_file, "--id-column", "pmcid")
    run("ranges", "--rows", 100)
    key = run("ranges")[1].strip()
    assert run("materialize", key, "--config", run_config)[0] == 0
    assert run("verify")[0] == 0
    for damage, problem in (
        ("DELETE FROM sum_assets.abstract_summary WHERE abstract_id = 1", "1 differing"),
        ("UPDATE sum_assets.corpus_abstract SET abstract = 'other' WHERE abstract_id = 2", "1 stale"),
        ("DELETE FROM sum_assets.corpus_abstract WHERE abstract_id = 3", "1 orphans"),
        ("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (3, 'x'), (0, 'y')", "1 in no range"),
    ):
        database.execute(damage.encode())
        code, out, err = run("verify")
        assert (code, problem in out) == (1, True), out
        assert f"1 published range is not whole, the first {key}" in err
    assert run("materialize", key, "--config", run_config)[0] == 0
    code, _, err = run("verify")
    assert (code, "1 row of the source is in no ID range, the first has ID 0" in err) == (1, True), err
    assert run("ranges", "--rows", 100)[0] == 0
    assert run("verify")[0] == 0


def _lead(tmp_path: Path) -> Path:
    path = tmp_path / "lead.yaml"
    path.write_text("resources: {gpu: {config: {engine: lead}}}")
    return path


def _csv(path: Path, ids: range) -> Path:
    path.write_text("abstract_id,abstract\n" + "".join(f"{i},{sentence(i, 9)}\n" for i in ids))
    return path


def test_ranges_are_taken_in_the_order_of_their_ids_whenever_they_were_added(
    run: Run, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    for name, ids in (("newer", range(1000, 1024)), ("older", range(100, 112)), ("between", range(500, 512))):
        run("load", _csv(tmp_path / f"{name}.csv", ids))
        run("ranges", "--rows", 6)
    keys = run("ranges")[1].split()
    assert keys == sorted(keys)
    assert list(instance.get_dynamic_partitions("id_range")) == keys, "so do the UI and backfills take them"
    paged = instance.get_paginated_dynamic_partitions("id_range", limit=3, ascending=True)
    rest = instance.get_paginated_dynamic_partitions("id_range", limit=99, ascending=True, cursor=paged.cursor)
    assert [*paged.results, *rest.results] == keys
    code, _, err = run("materialize", keys[1], keys[5], "-c", _lead(tmp_path))
    assert code == 0, err
    report = json.loads(run("verify", "--json")[1])
    assert {r["key"] for r in report["ranges"] if r["published"] == r["source"] > 0} == set(keys[1:6])


@pytest.mark.parametrize("command", ["materialize", "backfill"])
def test_a_first_range_above_the_last_is_an_error(
    run: Run, instance: dg.DagsterInstance, tmp_path: Path, command: str
) -> None:
    run("load", _csv(tmp_path / "rows.csv", range(1, 13)))
    run("ranges", "--rows", 6)
    low, high = run("ranges")[1].split()
    code, _, err = run(command, high, low, "-c", _lead(tmp_path))
    assert code == 1
    assert f"The first ID range, {high}, is above the last, {low}. Name the lower one first." in err


def test_reset_refuses_while_there_are_results(
    run: Run, database: Connection, instance: dg.DagsterInstance, corpus_file: Path
) -> None:
    run("load", corpus_file, "--id-column", "pmcid")
    run("ranges", "--rows", 20)
    code, out, _ = run("ranges", "--rows", 10, "--reset")
    assert (code, out.split()[0]) == (0, "4")
    database.execute("INSERT INTO sum_assets.summarizer_config VALUES ('f', '{}')")
    database.execute("INSERT INTO sum_assets.abstract_summary VALUES (1, 's', '', 'f', 'r')")
    code, _, err = run("ranges", "--rows", 20, "--reset")
    assert (code, "There are results (1 published)" in err) == (1, True)
    assert len(run("ranges")[1].split()) == 4
    assert run("ranges", "--rows", 20, "--reset", "--yes")[0] == 0
    assert len(run("ranges")[1].split()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "--range", "12"), "'12' is not a valid ID range"),
        (("verify", "--range", "0000000001-0000000002"), "is not registered. `sum-assets ranges` lists"),
        (("materialize", "0000000001-0000000002"), "is not registered"),
        (("load", "none.csv"), "Cannot open none.csv"),
        (("ranges", "--rows", "10"), "The source has no abstracts. Load some"),
        (("discard", "--fingerprint", "x"), "To go ahead without being asked: --yes"),
        (("discard", "--fingerprint", "x", "--yes"), "There is no fingerprint 'x'"),
        (("backfill", "--url", "http://127.0.0.1:9"), "There are no ID ranges to fill"),
        (("init", "--source", "nowhere"), "There is no table nowhere"),
        (("sweep", "none.yaml"), "The sweep file none.yaml cannot be read"),
        (("benchmark",), "No sweep is registered. Register one: `sum-assets sweep sweeps/cpu.yaml`"),
        (("report",), "No sweep is registered"),
        (("largest-batch", "a"), "No sweep is registered"),
    ],
)
def test_a_users_error_is_one_sentence_and_code_1(
    run: Run, instance: dg.DagsterInstance, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 1
    assert message in err
    assert "Traceback" not in err


def test_devices_reset_names_what_is_used_again(run: Run, database: Connection) -> None:
    assert run("devices", "reset") == (0, "no device of this machine is quarantined\n", "")
    device_losses.record_loss(database, "cuda:0", "gone", "earlier")
    assert run("devices", "reset") == (0, "in use again: cuda:0\n", "")


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version") == (0, f"sum-assets {version('sum-assets')}\n", "")


def test_errors_of_the_database_and_the_configuration(
    run: Run,
    instance: dg.DagsterInstance,
    corpus_file: Path,
    run_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("load", corpus_file, "--id-column", "pmcid")
    run("ranges", "--rows", 100)
    key = run("ranges")[1].strip()
    (tmp_path / "field.yaml").write_text("resources: {gpu: {config: {batchsize: 3}}}")
    assert 'Received unexpected config entry "batchsize"' in run("materialize", key, "-c", tmp_path / "field.yaml")[2]
    (tmp_path / "list.yaml").write_text("- a")
    assert "list.yaml is not a mapping of names to settings" in run("materialize", key, "-c", tmp_path / "list.yaml")[2]
    (tmp_path / "value.yaml").write_text("resources: {gpu: {config: {batch_size: 0}}}")
    err = run("materialize", key, "-c", tmp_path / "value.yaml")[2]
    assert err.splitlines()[-1] == "Error: batch_size is at least 1, not 0"
    assert "Stack Trace" not in err
    assert "No Dagster webserver answers at http://127.0.0.1:9" in run("backfill", "--url", "http://127.0.0.1:9")[2]
    monkeypatch.setenv(URL_VARIABLE, "postgresql://127.0.0.1:1/none")
    (tmp_path / "soon.yaml").write_text("resources: {postgres: {config: {wait_seconds: 0.6}}}")
    soon = ("materialize", key, "-c", tmp_path / "soon.yaml")
    for command in (("verify",), ("ranges",), ("load", corpus_file), soon):
        code, _, err = run(*command)
        assert (code, "Cannot connect to PostgreSQL at 127.0.0.1:1/none" in err) == (1, True), err
    assert "longer than the run waits" in err, "a run waits first"


def test_the_embedded_server_is_started_and_stopped_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="sum_assets_") as folder:
        monkeypatch.setenv("SUM_ASSETS_HOME", folder)
        assert "No database. Name one" in run("verify")[2]
        monkeypatch.setenv(DEMO_VARIABLE, "1")
        assert f"{folder}/demo/postgres" in run("db", "start")[1]
        monkeypatch.delenv(DEMO_VARIABLE)
        assert run("init")[0] == 0, "the demo's is in use where there is no other"
        assert run("db", "stop") == (0, f"stopped {folder}/demo/postgres\n", "")
        assert f"Start it: `{DEMO_VARIABLE}=1 sum-assets db start`" in run("verify")[2]
        assert f"host={folder}/postgres" in run("db", "start")[1]
        assert "has no schema sum_assets. Run `sum-assets init`" in run("verify")[2], "one's own comes first"
        assert run("db", "stop") == (0, f"stopped {folder}/postgres\n", "")
        assert run("db", "stop") == (0, f"{folder}/postgres was not running\n", "")
        for command in (("verify",), ("materialize", "0000000001-0000000009")):
            assert "is not running. Start it: `sum-assets db start`" in run(*command)[2], "not waited for"


def created(database: Connection) -> dict[int, datetime]:
    rows = database.execute("SELECT abstract_id, created_at FROM sum_assets.generated_summary").fetchall()
    return dict(rows)


def test_a_killed_run_goes_on_where_it_stopped(
    run: Run, database: Connection, instance: dg.DagsterInstance, run_config: Path, tmp_path: Path
) -> None:
    path = tmp_path / "many.csv"
    path.write_text("abstract_id,abstract\n" + "".join(f"{i},{sentence(i, 5 + i % 9)}\n" for i in range(1, 1001)))
    run("load", path)
    run("ranges", "--rows", 1000)
    key = run("ranges")[1].strip()
    command = [sys.executable, "-m", "sum_assets.cli.main", "materialize", key, "--config", str(run_config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    count = "SELECT count(*) FROM sum_assets.generated_summary"
    deadline = time.monotonic() + 120
    while (database.execute(count.encode()).fetchone() or (0,))[0] < 100:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = created(database)
    assert 100 <= len(kept) < 1000
    assert run("materialize", key, "--config", run_config)[0] == 0
    after = created(database)
    assert {i: after[i] for i in kept} == kept, "what was committed is not generated again"
    assert run("verify")[0] == 0
    published = "SELECT abstract_id, summary FROM sum_assets.abstract_summary ORDER BY 1"
    resumed = database.execute(published.encode()).fetchall()
    run("unpublish", "--yes")
    (fingerprint,) = database.execute("SELECT fingerprint FROM sum_assets.summarizer_config").fetchone() or ("",)
    assert run("discard", "--fingerprint", fingerprint, "--yes") == (
        0,
        "1,000 summaries and 0 rejections deleted\n",
        "",
    )
    assert run("materialize", key, "--config", run_config)[0] == 0
    assert database.execute(published.encode()).fetchall() == resumed, "the table of a run that nothing disturbed"


def test_status_tells_each_range(
    run: Run, database: Connection, instance: dg.DagsterInstance, corpus_file: Path, tmp_path: Path
) -> None:
    def states() -> list[str]:
        return [one["state"] for one in json.loads(run("status", "--json")[1])["ranges"]]

    assert run("status")[1] == "There are no ID ranges yet.\n"
    run("load", corpus_file, "--id-column", "pmcid")
    run("ranges", "--rows", 10)
    first, second, third, fourth = run("ranges")[1].split()
    assert run("status")[1] == "4 not begun\nabstracts: 40 not begun\n"
    lead = {"resources": {"gpu": {"config": {"engine": "lead"}}}}
    for name, limit in (("all", None), ("pilot", 3)):
        (tmp_path / name).write_text(yaml.safe_dump(lead | {"ops": {"summaries": {"config": {"limit": limit}}}}))
    assert run("materialize", first, third, "-c", tmp_path / "all")[0] == 0
    run("unpublish", "--range", second, "--yes")
    database.execute("UPDATE sum_assets.corpus_abstract SET abstract = 'Other.' WHERE abstract_id = 30")
    assert run("materialize", fourth, "-c", tmp_path / "pilot", "--select", "summaries")[0] == 0
    assert states() == ["done", "unpublished", "stale", "partial"]
    stopped = lead | {"ops": {"summaries": {"config": {"stop_at": "2020-01-01T00:00"}}}}
    (tmp_path / "stopped").write_text(yaml.safe_dump(stopped))
    code, _, err = run("materialize", fourth, "-c", tmp_path / "stopped")
    assert (code, "Stopped at its deadline 2020-01-01 00:00, with 7 of 7 abstracts of" in err) == (1, True), err
    assert states()[3] == "failed"
    assert "Stopped at its deadline" in run("status")[1]
    with open_database() as other, range_lease(other, IdRange.from_key(fourth), "somebody"):
        assert states()[3] == "running"
        code, _, err = run("materialize", fourth, "-c", tmp_path / "all")
        assert (code, f"The range {fourth} is being worked on by run somebody on" in err) == (1, True), err
    assert run("materialize", fourth, "-c", tmp_path / "all")[0] == 0
    assert states()[3] == "done"


def test_verify_before_any_range_says_so(run: Run, database_url: str) -> None:
    assert run("verify") == (0, "There are no ID ranges yet.\n", "")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_an_error_of_the_server_is_a_sentence(
    run: Run, database: Connection, database_url: str, arguments: list[str], corpus_file: Path
) -> None:
    name = conninfo.conninfo_to_dict(database_url)["dbname"]
    database.execute(f"ALTER DATABASE {name} SET statement_timeout = '300ms'".encode())
    with database.transaction():
        database.execute("LOCK sum_assets.schema_migration")
        code, _, err = run(*(str(corpus_file) if argument == "FILE" else argument for argument in arguments))
    assert code == 1
    if arguments[0] not in ("materialize", "backfill"):  # they find no range before they look at our tables
        assert "Error: The server canceled a statement: canceling statement due to statement timeout." in err


@pytest.mark.parametrize("arguments", [["ranges"], ["verify"], ["status"], ["backfill"]], ids=" ".join)
def test_so_is_an_error_in_dagsters_tables(
    run: Run, instance: dg.DagsterInstance, database: Connection, database_url: str, arguments: list[str]
) -> None:
    name = conninfo.conninfo_to_dict(database_url)["dbname"]
    database.execute(f"ALTER DATABASE {name} SET statement_timeout = '300ms'".encode())
    with database.transaction():
        database.execute("LOCK dagster.dynamic_partitions")
        code, _, err = run(*arguments)
    assert (code, err[:45]) == (1, "Error: The server canceled a statement: cance")
    database.execute("ALTER TABLE dagster.dynamic_partitions RENAME partition TO renamed")
    code, _, err = run(*arguments)
    assert (code, err[:48]) == (1, "Error: The database refused a statement (42703):")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_url_that_is_not_valid_is_repeated_by_no_command(
    run: Run, arguments: list[str], corpus_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://u:s3/cr@t@h/x")
    code, out, err = run(*(str(corpus_file) if argument == "FILE" else argument for argument in arguments))
    assert code == 1
    assert f"Error: {URL_VARIABLE} is not a valid PostgreSQL URL" in err
    assert "s3" not in out + err.replace(str(corpus_file), "")
    assert "cr@" not in out + err
