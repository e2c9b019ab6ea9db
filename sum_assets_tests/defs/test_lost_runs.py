"""Runs whose process is gone are ended; no other is."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import GRPC_INFO_TAG, WILL_RETRY_TAG
from dagster._core.test_utils import create_run_for_test
from psycopg import Connection

from sum_assets.database import processes, run_process
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.run_process import recorded_process
from sum_assets.defs import lost_runs
from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import register_ranges
from sum_assets.defs.lost_runs import CodeServer, end_lost_runs
from sum_assets.defs.resources import PostgresResource
from sum_assets.id_range import IdRange

S = dg.DagsterRunStatus
RANGE = IdRange(1, 4)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ours(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def dead(database: Connection) -> Callable[[str], None]:
    """Give the record of a run to a process that has ended."""

    def give(run_id: str) -> None:
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # it runs until its input ends
        start = processes.process_start(process.pid)
        process.communicate()
        query = "UPDATE sum_assets.run_process SET pid = %s, process_start = %s WHERE run_id = %s"
        database.execute(query, [process.pid, start, run_id])

    return give


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> S:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status


def test_a_run_ends_with_its_process(
    instance: dg.DagsterInstance, ours: Database, database: Connection, dead: Callable[[str], None]
) -> None:
    for before in (S.STARTING, S.STARTED, S.CANCELING):
        run = create_run_for_test(instance, "summarize_corpus", status=before)
        with recorded_process(ours, run.run_id):
            assert end_lost_runs(instance, database) == {}
            dead(run.run_id)
            assert list(end_lost_runs(instance, database)) == [run.run_id]
        found = instance.get_run_by_id(run.run_id)
        assert found
        assert found.status == (S.CANCELED if before == S.CANCELING else S.FAILURE)
        assert found.tags.get(WILL_RETRY_TAG) == (None if before == S.CANCELING else "true")
        assert end_lost_runs(instance, database) == {}


def test_after_another_boot_the_heartbeat_decides(
    instance: dg.DagsterInstance, ours: Database, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_process, "RENEW_EVERY", 0.05)
    run = create_run_for_test(instance, "summarize_corpus", status=S.STARTED)
    with recorded_process(ours, run.run_id):
        monkeypatch.setattr(processes, "boot_id", lambda: "another")
        database.execute("UPDATE sum_assets.run_process SET renewed_at = 'epoch'")
        query = "SELECT renewed_at > 'epoch' FROM sum_assets.run_process"
        while database.execute(query).fetchone() != (True,):
            time.sleep(0.02)
        assert end_lost_runs(instance, database) == {}
    time.sleep(0.2)
    database.execute("UPDATE sum_assets.run_process SET renewed_at = renewed_at - interval '80 s'")
    assert end_lost_runs(instance, database) == {}
    database.execute("UPDATE sum_assets.run_process SET renewed_at = renewed_at - interval '11 s'")
    assert list(end_lost_runs(instance, database)) == [run.run_id]


def test_a_step_that_outlives_the_process_finishes(
    instance: dg.DagsterInstance, ours: Database, database: Connection, dead: Callable[[str], None]
) -> None:
    run = create_run_for_test(instance, "summarize_corpus", status=S.STARTED)
    with recorded_process(ours, run.run_id), range_lease(ours, RANGE, run.run_id):
        dead(run.run_id)
        assert end_lost_runs(instance, database) == {}
    assert list(end_lost_runs(instance, database)) == [run.run_id]


def launched(instance: dg.DagsterInstance, before: S, location: str = "sum_assets") -> dg.DagsterRun:
    """Return a run that a code server was told to start."""
    server = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name=location)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "summarize_corpus")
    tags = {GRPC_INFO_TAG: "{}"}
    run: dg.DagsterRun = create_run_for_test(
        instance, "summarize_corpus", status=before, tags=tags, remote_job_origin=origin
    )
    events = {S.STARTING: ["PIPELINE_STARTING"], S.STARTED: ["PIPELINE_STARTING", "PIPELINE_START"]}
    for event in events.get(before, []):
        instance.report_dagster_event(dg.DagsterEvent(event, job_name="summarize_corpus"), run.run_id)
    return run


def test_a_run_without_a_record_ends_with_its_code_server(
    instance: dg.DagsterInstance, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be known, as for other locations and launchers or under an earlier schema, it goes on."""
    monkeypatch.setattr(lost_runs, "GRACE", 0.0)
    began = time.time()
    lost = [launched(instance, before) for before in (S.STARTING, S.STARTED)]
    others = [launched(instance, before, "another") for before in (S.STARTING, S.STARTED)]
    others += [launched(instance, before) for before in (S.QUEUED, S.NOT_STARTED)]
    others.append(create_run_for_test(instance, "summarize_corpus", status=S.STARTED))
    before = [status(instance, run) for run in others]
    successor = CodeServer("sum_assets", time.time())
    assert end_lost_runs(instance, database, CodeServer("sum_assets", began)) == {}
    with monkeypatch.context() as patch:
        patch.setattr(lost_runs, "GRACE", 60.0)
        assert end_lost_runs(instance, database, successor) == {}
    database.execute("UPDATE sum_assets.schema_migration SET applied_at = now()")
    assert end_lost_runs(instance, database, successor) == {}
    database.execute("UPDATE sum_assets.schema_migration SET applied_at = 'epoch'")
    assert set(end_lost_runs(instance, database, successor)) == {run.run_id for run in lost}
    assert [status(instance, run) for run in lost] == [S.FAILURE, S.FAILURE]
    assert [status(instance, run) for run in others] == before


def test_the_rows_of_ended_runs_are_deleted(instance: dg.DagsterInstance, ours: Database, database: Connection) -> None:
    for run_id in ("new", "old"):
        with recorded_process(ours, run_id):
            pass
    run = create_run_for_test(instance, "summarize_corpus", status=S.STARTED)
    with recorded_process(ours, run.run_id):
        database.execute("UPDATE sum_assets.run_process SET renewed_at = 'epoch' WHERE run_id <> 'new'")
        end_lost_runs(instance, database)
    left = database.execute("SELECT run_id FROM sum_assets.run_process ORDER BY run_id = 'new' DESC").fetchall()
    assert left == [("new",), (run.run_id,)]


def test_the_sensor_is_on_and_says_what_it_ended(
    instance: dg.DagsterInstance, ours: Database, dead: Callable[[str], None]
) -> None:
    sensor = defs.resolve_sensor_def("end_runs_without_a_process")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    run = create_run_for_test(instance, "summarize_corpus", status=S.STARTED)
    with recorded_process(ours, run.run_id):
        dead(run.run_id)
    messages = []
    for _ in range(2):
        context = dg.build_sensor_context(instance=instance, resources={"postgres": PostgresResource()})
        messages.append(str(sensor.evaluate_tick(context).skip_message))
    assert f"Ended run {run.run_id}: The process" in messages[0]
    assert messages[1] == "Every run has its process."


def test_materialize_records_its_process_and_ends_lost_runs(
    run: Run,
    instance: dg.DagsterInstance,
    ours: Database,
    database: Connection,
    dead: Callable[[str], None],
    tmp_path: Path,
) -> None:
    database.execute("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (1, 'One. Two.')")
    register_ranges(instance, [RANGE])
    lost = create_run_for_test(instance, "summarize_corpus", status=S.STARTED)
    with recorded_process(ours, lost.run_id):
        dead(lost.run_id)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"resources": {"gpu": {"config": {"engine": "lead"}}}}))
    code, _, err = run("materialize", RANGE.key, "-c", config)
    assert code == 0, err
    assert status(instance, lost) == S.FAILURE
    (record,) = instance.get_run_records(dg.RunsFilter(statuses=[S.SUCCESS]))
    (found,) = database.execute(
        "SELECT run_id FROM sum_assets.run_process WHERE run_id <> %s", [lost.run_id]
    ).fetchall()
    assert found == (record.dagster_run.run_id,)
