"""Chooses how many ID ranges a run of a backfill takes, so that a run lasts some minutes."""

import statistics

import dagster as dg

from sum_assets.backfill_time import ranges_in_run
from sum_assets.defs.asset_names import SUMMARIES

#: How many of the latest materializations tell the rate.
_LATEST = 20


def usual_ranges_per_run(instance: dg.DagsterInstance, ranges: int, rows_per_range: float, runs_at_once: int) -> int:
    """Return how many ranges fill some minutes at the rate of the latest runs; 1 where nothing was measured.

    There are at least as many runs as may run at once.
    """
    latest = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(SUMMARIES)), limit=_LATEST
    ).records
    seconds = []
    for record in latest:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        done, total, load = (
            metadata[name].value if name in metadata else 0
            for name in ("summarized", "seconds_total", "seconds_load_model")
        )
        if isinstance(done, int) and isinstance(total, int | float) and isinstance(load, int | float) and done:
            seconds.append((total - load) / done)
    if not seconds:
        return 1
    return ranges_in_run(statistics.median(seconds) * rows_per_range, ranges, runs_at_once)
