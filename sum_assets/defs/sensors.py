"""Adds ID ranges as the corpus grows, and ends runs whose process is gone."""

import time

import dagster as dg

from sum_assets.database.range_registry import parse_keys
from sum_assets.database.ranges import full_ranges
from sum_assets.defs.lost_runs import CodeServer, end_lost_runs
from sum_assets.defs.partitions import id_ranges
from sum_assets.defs.resources import PostgresResource
from sum_assets.errors import UserError

_BEGAN = time.time()  # the code server, which imports this


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs as failed whose process is gone, so that they are retried and others leave the queue.",
)
def end_runs_without_a_process(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SkipReason:
    """End the runs that a crash of their machine left behind. Nothing is launched; Dagster's daemon retries them."""
    origin = context.code_location_origin
    server = CodeServer(origin.location_name, _BEGAN) if origin else None
    try:
        with postgres.connection() as connection:
            ended = end_lost_runs(context.instance, connection, server)
    except UserError as error:
        raise dg.Failure(description=str(error)) from error
    return dg.SkipReason(
        "\n".join(f"Ended run {run_id}: {reason}" for run_id, reason in ended.items()) or "Every run has its process."
    )


@dg.sensor(
    minimum_interval_seconds=300,
    description="Registers ID ranges for new abstracts as soon as a range of them is full. It launches nothing.",
)
def grow_id_ranges(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SensorResult | dg.SkipReason:
    """Register ranges for abstracts below or above those there are, as soon as a range is full.

    A new range holds as many abstracts as the others do on average. Nothing is launched.
    """
    keys = context.instance.get_dynamic_partitions(id_ranges.name or "")
    if not keys:
        return dg.SkipReason("There are no ID ranges yet. Run `sum-assets ranges --rows N` once.")
    try:
        with postgres.connection() as connection:
            new = full_ranges(connection, parse_keys(keys)[0])
    except UserError as error:
        raise dg.Failure(description=str(error)) from error
    if not new:
        return dg.SkipReason("No full range of new abstracts.")
    return dg.SensorResult(dynamic_partitions_requests=[id_ranges.build_add_request([r.key for r in new])])
