"""When a run was launched, and how long it took to begin."""

import time
from datetime import UTC, datetime

import dagster as dg

from sum_assets.backfill_time import START_SECONDS


def launched_at(context: dg.AssetExecutionContext) -> datetime:
    """Return when the run was launched, or the backfill that it is part of."""
    if backfill_id := context.run.tags.get("dagster/backfill"):
        backfill = context.instance.get_backfill(backfill_id)
        if backfill is not None:
            return datetime.fromtimestamp(backfill.backfill_timestamp, tz=UTC)
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp if record else datetime.now(tz=UTC)


def start_seconds(context: dg.AssetExecutionContext) -> float:
    """Return the seconds since Dagster's daemon launched this run.

    They are those that are usual where it did not launch it, or its step is tried again.
    """
    launched = context.instance.get_run_stats(context.run.run_id).launch_time
    return max(0.0, time.time() - launched) if launched and not context.retry_number else START_SECONDS
