"""The sensor that summarizes what was edited: off as shipped, cheap where nothing was, and never twice for one edit."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.defs import sensors
from sum_assets.defs.definitions import defs
from sum_assets.defs.partitions import RANGES_PER_RUN
from sum_assets.defs.resources import PostgresResource

Run = Callable[..., tuple[int, str, str]]
SENSOR = defs.resolve_sensor_def("summarize_edited_ranges")
JOB = defs.resolve_job_def("summarize_corpus")


@pytest.fixture
def keys(run: Run, database: Connection, instance: dg.DagsterInstance, tmp_path: Path) -> list[str]:
    """Four ranges of a tracked table, of which the last is not begun."""
    database.execute(
        "CREATE TABLE article (id int PRIMARY KEY, abstract text); "
        "INSERT INTO article SELECT i, 'Text ' || i || '.' FROM generate_series(1, 40) AS i"
    )
    assert run("init", "--source", "article", "--id-column", "id", "--track-changes")[0] == 0
    assert run("ranges", "--rows", 10)[0] == 0
    keys = run("ranges")[1].split()
    config = tmp_path / "run.yaml"
    config.write_text("resources: {gpu: {config: {engine: lead}}}\nops: {summaries: {config: {overwrite: true}}}")
    assert run("materialize", keys[0], keys[2], "-c", config)[0] == 0
    return keys


def tick(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    context = dg.build_sensor_context(
        instance=instance, resources={"postgres": PostgresResource()}, repository_def=defs.get_repository_def()
    )
    return list(SENSOR.evaluate_tick(context).run_requests or [])


def spans(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    return [
        (r.tags["dagster/asset_partition_range_start"], r.tags["dagster/asset_partition_range_end"]) for r in requests
    ]


def edit(database: Connection, *ids: int) -> None:
    database.execute("UPDATE article SET abstract = abstract || ' New.' WHERE id = ANY (%s)", [list(ids)])


def test_edited_ranges_are_summarized_once(
    instance: dg.DagsterInstance, database: Connection, keys: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SENSOR.default_status == dg.DefaultSensorStatus.STOPPED
    assert tick(instance) == [], "the first tick counts what was edited before"
    with monkeypatch.context() as patch:
        patch.setattr("sum_assets.database.count_ranges.count_range", None)
        assert tick(instance) == [], "nothing is counted where nothing was edited"
    edit(database, 12, 35)
    (request,) = tick(instance)
    assert spans([request]) == [(keys[1], keys[1])]
    assert request.run_config == {"resources": {"gpu": {"config": {"engine": "lead"}}}}
    assert [again.run_key for again in tick(instance)] == [request.run_key], "Dagster launches one run for a key"
    waiting = instance.add_run(
        dg.DagsterRun(job_name="summarize_corpus", status=dg.DagsterRunStatus.STARTED, tags=dict(request.tags))
    )
    edit(database, 13)
    assert tick(instance) == []
    instance.delete_run(waiting.run_id)
    (later,) = tick(instance)
    assert later.run_key != request.run_key
    assert JOB.execute_in_process(later.run_config, instance=instance, tags=later.tags).success
    assert tick(instance) == []
    assert run("status")[0] == 0
    database.execute("DELETE FROM article WHERE id BETWEEN 11 AND 20")
    assert spans(tick(instance)) == [(keys[1], keys[1])], "what vanished is withdrawn"


def test_neighbours_share_a_run(
    instance: dg.DagsterInstance, database: Connection, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(database, 1, 11, 21, 31)
    assert spans(tick(instance)) == [(key, key) for key in keys[:3]]
    monkeypatch.setenv(RANGES_PER_RUN, "2")
    first, second = tick(instance)
    assert spans([first, second]) == [(keys[0], keys[1]), (keys[2], keys[2])]
    assert JOB.execute_in_process(first.run_config, instance=instance, tags=first.tags).success
    assert spans(tick(instance)) == [(keys[2], keys[2])]
    monkeypatch.setattr(sensors, "_COUNT_SECONDS", 0.0)
    edit(database, 1, 11)
    found = [spans(tick(instance)) for _ in range(2)]
    assert found[-1] == [(keys[0], keys[1]), (keys[2], keys[2])], "what one tick has no time for, the next counts"
