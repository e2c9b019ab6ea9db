"""Adds ID ranges as the corpus grows, summarizes edited ones, ends lost runs, and records and reports what was done."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from psycopg import Connection

from sum_assets.database.corpus_status import corpus_status
from sum_assets.database.count_ranges import count_edited
from sum_assets.database.range_registry import parse_keys
from sum_assets.database.ranges import full_ranges
from sum_assets.defs.asset_names import (
    BENCHMARK,
    CORPUS_ASSETS,
    CORPUS_STATUS,
    JOBS_WITHOUT_TABLE,
    MEASURE,
    REPORT,
    SUMMARIZE,
)
from sum_assets.defs.edited_runs import runs_of_edited, runs_of_new
from sum_assets.defs.lost_runs import CodeServer, end_lost_runs
from sum_assets.defs.metadata import status_metadata
from sum_assets.defs.partitions import id_ranges
from sum_assets.defs.report_runs import run_to_report
from sum_assets.defs.resources import PostgresResource
from sum_assets.errors import UserError

#: For how long a tick counts ranges at most; Dagster ends one after a minute.
_COUNT_SECONDS = 20.0
#: How many runs a tick requests at most: to submit one takes a second, and other sensors wait.
_MOST_REQUESTS = 25
_BEGAN = time.time()  # the code server, which imports this
#: The cursor of `record_corpus_status` where no backfill goes on; else it is when to record again.
_IDLE = "idle"
#: Seconds between two records: this share of the seconds that are left, and no more than so many. A backfill of weeks
#: would otherwise leave tens of thousands.
_SHARE_OF_REST, _LONGEST_PAUSE = 0.002, 600.0


@contextmanager
def _connection(postgres: PostgresResource) -> Iterator[Connection]:
    """Open a connection; a UserError fails the tick in its own words."""
    try:
        with postgres.connection() as connection:
            yield connection
    except UserError as error:
        raise dg.Failure(description=str(error)) from error


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs as failed whose process is gone, so that they are retried and others leave the queue.",
)
def end_runs_without_a_process(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SkipReason:
    """End the runs that a crash of their machine left behind. Nothing is launched; Dagster's daemon retries them."""
    origin = context.code_location_origin
    server = CodeServer(origin.location_name, _BEGAN) if origin else None
    with _connection(postgres) as connection:
        ended = end_lost_runs(context.instance, connection, server)
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
    with _connection(postgres) as connection:
        new = full_ranges(connection, parse_keys(keys)[0])
    if not new:
        return dg.SkipReason("No full range of new abstracts.")
    return dg.SensorResult(dynamic_partitions_requests=[id_ranges.build_add_request([r.key for r in new])])


@dg.sensor(
    job_name=SUMMARIZE,
    minimum_interval_seconds=60,
    description="Summarizes and publishes again the ID ranges that were edited since they were published. It needs "
    "`sum-assets init --track-changes`.",
)
def summarize_edited_ranges(
    context: dg.SensorEvaluationContext, postgres: PostgresResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request runs of the edited ranges, with the resources of their latest run."""
    ranges, _ = parse_keys(context.instance.get_dynamic_partitions(id_ranges.name or ""))
    with _connection(postgres) as connection:
        edited = count_edited(connection, ranges, _COUNT_SECONDS)
    requests = runs_of_edited(context.instance, ranges, {r: one.edited_at for r, one in edited.items() if one.to_do})
    return requests or dg.SkipReason("No published range was edited, or runs of them wait or work already.")


@dg.sensor(
    job_name=SUMMARIZE,
    minimum_interval_seconds=60,
    description="Summarizes and publishes ID ranges that never were, with the resources of the latest run. A range "
    "that fails is not tried again. With `grow_id_ranges` on, new abstracts need nobody.",
)
def summarize_new_ranges(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Request runs of ranges without a publication. An automation condition could not: it has no run configuration."""
    ranges, _ = parse_keys(context.instance.get_dynamic_partitions(id_ranges.name or ""))
    requests = runs_of_new(context.instance, ranges)
    if requests is None:
        return dg.SkipReason("Nothing was summarized yet. Summarize an ID range: others follow with its resources.")
    return requests[:_MOST_REQUESTS] or dg.SkipReason("Runs were launched of every ID range already.")


@dg.sensor(
    minimum_interval_seconds=60,
    # It costs one small query a minute where no backfill goes on.
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Records how far a backfill of ID ranges is, and when it will end. It launches nothing.",
)
def record_corpus_status(
    context: dg.SensorEvaluationContext, postgres: PostgresResource
) -> dg.SensorResult | dg.SkipReason:
    """Record the status of the corpus while a backfill goes on, and once more after its end."""
    goes_on = bool(_assets_in_backfills(context.instance) & set(CORPUS_ASSETS))
    cursor = context.cursor or _IDLE
    if not goes_on and cursor == _IDLE:
        return dg.SkipReason("No backfill of ID ranges goes on.")
    if goes_on and cursor != _IDLE and time.time() < float(cursor):
        return dg.SkipReason("It was recorded a moment ago, and the end is hours away.")
    keys = context.instance.get_dynamic_partitions(id_ranges.name or "")
    with _connection(postgres) as connection:
        status = corpus_status(connection, parse_keys(keys)[0])
    seconds, _, _ = status.seconds_left or (0.0, 0.0, 0.0)
    due = time.time() + min(_SHARE_OF_REST * seconds, _LONGEST_PAUSE)
    return dg.SensorResult(
        asset_events=[dg.AssetMaterialization(CORPUS_STATUS, metadata=status_metadata(status))],
        cursor=str(due) if goes_on else _IDLE,
        skip_reason=status.forecast or "Recorded. No range is done yet, so nothing says when the backfill will end.",
    )


@dg.sensor(
    job_name=REPORT,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,  # a report takes seconds, and nothing is measured meanwhile
    description="Makes `benchmark_report` again when presets were measured, and no other waits or is being measured.",
)
def report_measured_presets(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request a report of what runs have measured since the last one, once."""
    waits = BENCHMARK in _assets_in_backfills(context.instance)
    run_id = None if waits else run_to_report(context.instance)
    if run_id is None:
        return dg.SkipReason("Nothing was measured since the last report, or it is being measured now.")
    return dg.RunRequest(run_key=run_id)


def _assets_in_backfills(instance: dg.DagsterInstance) -> set[str]:
    """Return the assets of the backfills that go on."""
    statuses = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    assets: set[str] = set()
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=statuses)):
        if backfill.asset_selection is not None:
            assets |= {key.to_user_string() for key in backfill.asset_selection}
        elif backfill.job_name == MEASURE:
            assets.add(BENCHMARK)
        elif backfill.job_name not in JOBS_WITHOUT_TABLE:
            assets |= set(CORPUS_ASSETS)
    return assets
