"""The page of `doctor` and its exit code, whatever is broken."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._daemon.types import DaemonHeartbeat
from psycopg import Connection

from sum_assets.cli import console
from sum_assets.paths import URL_VARIABLE, project_file
from sum_assets.summarizer.device_lease import SLOTS_VARIABLE
from sum_assets_tests.defs.test_backfill import webserver

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def look(run: Run, port: int) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run `doctor --json`: the exit code, and what it prints."""

    def invoke(*words: object) -> tuple[int, dict[str, Any]]:
        code, out, err = run("doctor", "--json", "--port", port, *words)
        assert err == ""
        report = json.loads(out)
        assert report["works"] == (code == 0)
        return code, report

    return invoke


Look = Callable[..., tuple[int, dict[str, Any]]]


def failures(report: dict[str, Any]) -> dict[str, str]:
    return {one["subject"]: one["message"] for one in report["findings"] if one["level"] == "failure"}


@pytest.fixture
def run_yaml(t5: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    settings = {"model": str(t5), "max_input_tokens": 64, "max_output_tokens": 16}
    path.write_text(json.dumps({"resources": {"summarizer": {"config": settings}}}))
    return path


@pytest.mark.usefixtures("instance")
def test_a_machine_that_is_ready(
    look: Look, run: Run, run_yaml: Path, t5: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, report = look("-c", run_yaml)
    assert (code, failures(report)) == (0, {})
    assert report["model"] == str(t5)
    assert report["devices"][-1]["kind"] == "cpu"
    assert report["libraries"]["torch"]
    assert {one["part"] for one in report["findings"]} == {"machine", "model", "engines", "database", "dagster"}
    verdicts = [v for v in report["verdicts"] if (v["engine"], v["device"]) == ("transformers", "cpu")]
    outcomes = {(v["setting"], v["value"]): v["outcome"] for v in verdicts}
    assert outcomes[(None, None)] == outcomes["precision", "float32"] == "ok"
    assert outcomes["precision", "float16"] == "unsupported"
    monkeypatch.setattr(console.out, "width", 80)
    code, out, _ = run("doctor", "-c", run_yaml, "--port", port)
    assert code == 0
    assert "Runs and the UI can work here. " in out
    assert max(map(len, out.splitlines())) <= 80
    assert "Traceback" not in out


def test_without_database_and_model_the_rest_answers(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://u:secret@127.0.0.1:1/x")
    code, report = look("--model", "/no/such/model")
    assert code == 1
    assert set(failures(report)) == {"files", "server"}
    assert "secret" not in json.dumps(report)
    levels = {(one["part"], one["subject"]): one["level"] for one in report["findings"]}
    assert levels["machine", "cpu"] == levels["engines", "lead"] == levels["dagster", "port"] == "ok"
    assert levels["dagster", "storage"] == "warning"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read"),
        ("resources: {gpu: {config: {precision: fp8}}}", "does not fit the job"),
        ("resources: {gppu: {config: {}}}", "Did you mean 'gpu'?"),
        ("resources: {gpu: {config: {batch_size: 0}}}", "batch_size is at least 1"),
    ],
)
@pytest.mark.usefixtures("instance")
def test_a_wrong_configuration_is_a_finding(text: str, message: str, look: Look, t5: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    code, report = look("-c", path, "--model", t5)
    assert code == 1
    assert message in failures(report)["run config"]
    assert failures(report)["run config"].endswith("The defaults are judged instead.")
    assert set(failures(report)) == {"run config"}


@pytest.mark.usefixtures("instance")
def test_an_engine_without_a_model_needs_none(look: Look, tmp_path: Path) -> None:
    path = tmp_path / "lead.yaml"
    path.write_text("resources: {gpu: {config: {engine: lead}}}")
    code, report = look("-c", path, "--model", "/no/such/model")
    assert (code, failures(report)) == (0, {})


def test_nothing_is_made(
    look: Look, empty_database_url: str, t5: Path, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    monkeypatch.setenv("SUM_ASSETS_HOME", str(tmp_path / "home"))
    code, report = look("--model", t5)
    assert (code, failures(report)) == (0, {})
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, report = look("--model", t5, "--port", other.getsockname()[1])
    assert (code, set(failures(report))) == (1, {"port"})
    assert not (tmp_path / "home").exists()
    with psycopg.connect(empty_database_url) as connection:
        query = "SELECT to_regnamespace('sum_assets'), to_regnamespace('dagster')"
        assert connection.execute(query).fetchone() == (None, None)


@pytest.mark.usefixtures("instance")
def test_variables_that_are_not_valid(look: Look, t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLOTS_VARIABLE, "many")
    code, report = look("--model", t5)
    assert code == 1
    assert failures(report)["variables"].startswith(f"{SLOTS_VARIABLE} is 'many'")


def test_a_port_that_is_taken(look: Look, run: Run, database: Connection, t5: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, report = look("--model", t5, "--port", other.getsockname()[1])
    assert (code, "is in use, perhaps by a UI" in failures(report)["port"]) == (1, True)


def test_a_port_that_the_ui_of_this_database_has(look: Look, instance: dg.DagsterInstance, t5: Path) -> None:
    with webserver(instance) as url:
        code, report = look("--model", t5, "--port", url.rpartition(":")[2])
    assert (code, failures(report)) == (0, {})
    assert any(one["message"] == f"the UI of this database is on {url}" for one in report["findings"])


@pytest.mark.usefixtures("instance")
def test_a_dagster_home_of_ones_own_is_compared(
    look: Look, t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "dagster"
    own.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(own))
    ours = project_file("dagster.yaml").read_text()

    def home_finding() -> dict[str, str]:
        return next(one for one in look("--model", t5)[1]["findings"] if one["subject"] == "home")

    assert home_finding()["level"] == "warning"
    assert "has no dagster.yaml" in home_finding()["message"]
    assert list(own.iterdir()) == [], "Dagster would make files of its own"
    (own / "dagster.yaml").write_text(ours)
    assert home_finding()["level"] == "ok"
    (own / "dagster.yaml").write_text(ours.replace("max_retries: 1", "max_retries: 0"))
    assert home_finding()["level"] == "warning"
    assert "run_retries.max_retries is 0, not 1" in home_finding()["message"]
    (own / "dagster.yaml").write_text("storage: [")
    assert home_finding()["level"] == "failure"


def test_the_daemon_is_seen_by_its_heartbeats(look: Look, instance: dg.DagsterInstance, t5: Path) -> None:
    def daemon() -> tuple[str, str]:
        found = look("--model", t5)[1]["findings"]
        return next((one["level"], one["message"]) for one in found if one["subject"] == "daemon")

    assert daemon() == ("warning", "It does not run, and queued runs and backfills wait. Start it: `sum-assets ui`.")
    kinds = list(instance.get_required_daemon_types())
    for kind in kinds[:-1]:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), kind, "daemon", []))
    assert daemon()[0] == "warning"
    assert f"Parts of it do not run: {kinds[-1].lower()}." in daemon()[1]
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), kinds[-1], "daemon", []))
    assert daemon()[0] == "ok"
