"""The sensor that summarizes new ranges: off as shipped, with the resources of the latest run, and once for each."""

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData
from psycopg import Connection

from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import register_ranges
from sum_assets.id_range import IdRange

SENSOR = defs.resolve_sensor_def("summarize_new_ranges")
JOB = defs.resolve_job_def("summarize_corpus")


def tick(instance: dg.DagsterInstance) -> SensorExecutionData:
    return SENSOR.evaluate_tick(dg.build_sensor_context(instance, repository_def=defs.get_repository_def()))


def firsts(data: SensorExecutionData) -> list[str]:
    return [request.tags["dagster/asset_partition_range_start"] for request in data.run_requests or []]


def test_ranges_that_were_never_published_are_summarized_as_the_latest_was(
    keys: list[str], instance: dg.DagsterInstance
) -> None:
    assert SENSOR.default_status == dg.DefaultSensorStatus.STOPPED
    data = tick(instance)
    assert firsts(data) == keys[1:]
    (request, *_) = data.run_requests or []
    assert request.run_config == {"resources": {"gpu": {"config": {"engine": "lead"}}}}
    waiting = instance.add_run(
        dg.DagsterRun(job_name=JOB.name, status=dg.DagsterRunStatus.STARTED, tags=dict(request.tags))
    )
    assert firsts(tick(instance)) == keys[2:]
    instance.delete_run(waiting.run_id)
    assert JOB.execute_in_process(request.run_config, instance=instance, tags=request.tags).success
    assert firsts(tick(instance)) == keys[2:]
    failing = {"resources": {"gpu": {"config": {"device": "cuda:99"}}}}
    failed = JOB.execute_in_process(failing, instance=instance, partition_key=keys[2], raise_on_error=False)
    assert not failed.success
    assert firsts(tick(instance)) == keys[3:], "what failed is left to a person"


def test_nothing_is_requested_before_somebody_has_chosen_a_configuration(
    database: Connection, instance: dg.DagsterInstance
) -> None:
    register_ranges(instance, [IdRange(1, 10)])
    data = tick(instance)
    assert (data.run_requests or [], str(data.skip_message).partition(".")[0]) == ([], "Nothing was summarized yet")
