"""The sensor that makes the benchmark report again: once after the last run of `benchmark`, whatever became of it."""

import time

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from psycopg import Connection

from sum_assets.defs.definitions import defs
from sum_assets.defs.sweep_registration import register_presets

SENSOR = defs.resolve_sensor_def("report_measured_presets")
S = dg.DagsterRunStatus


def requested(instance: dg.DagsterInstance) -> list[str | None]:
    data = SENSOR.evaluate_tick(dg.build_sensor_context(instance, repository_def=defs.get_repository_def()))
    return [request.run_key for request in data.run_requests or []]


def measure(instance: dg.DagsterInstance, preset: str) -> str:
    """Run `benchmark`, which fails without a sweep."""
    job = defs.resolve_job_def("benchmark_preset")
    return job.execute_in_process(instance=instance, partition_key=preset, raise_on_error=False).run_id


def test_a_report_follows_the_last_run_of_the_benchmark(database: Connection, instance: dg.DagsterInstance) -> None:
    assert SENSOR.default_status == dg.DefaultSensorStatus.RUNNING
    register_presets(instance, ["a", "b"])
    assert requested(instance) == []
    run_id = measure(instance, "a")
    assert requested(instance) == [run_id], "a preset that failed is reported as well"
    for unfinished in (
        dg.DagsterRun(job_name="benchmark_preset", status=S.STARTED),
        dg.DagsterRun(job_name="__ASSET_JOB", status=S.STARTED, asset_selection=frozenset({dg.AssetKey("benchmark")})),
    ):
        waiting = instance.add_run(unfinished)
        assert requested(instance) == []
        instance.delete_run(waiting.run_id)
    asset = [dg.AssetKey("benchmark")]
    backfill = PartitionBackfill("b", BulkActionStatus.REQUESTED, False, {}, time.time(), asset_selection=asset)
    instance.add_backfill(backfill)
    assert requested(instance) == [], "more runs are to come"
    instance.update_backfill(backfill._replace(status=BulkActionStatus.COMPLETED_FAILED))
    instance.add_run(dg.DagsterRun(job_name="summarize_corpus", status=S.STARTED))
    assert requested(instance) == [run_id]
    instance.report_runless_asset_event(dg.AssetMaterialization("benchmark_report"))
    assert requested(instance) == []
    again = measure(instance, "b")
    assert requested(instance) == [again]
