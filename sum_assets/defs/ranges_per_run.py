"""Chooses how many ID ranges a run of a backfill takes, so that a run lasts some minutes."""

import statistics

import dagster as dg

from sum_assets.backfill_time import ranges_in_run
from sum_assets.defs.asset_names import SUMMARIES

#: How many of the latest materializations tell the rate.
_LATEST = 20


def usual_ranges_per_run(instance: dg.DagsterInstance, ranges: int, rows_per_range: float, runs_at_once: int) -> int:
    """Return how many ranges fill some minutes at the rate of the latest runs, or else pilots; 1 without any.

    There are at least as many runs as may run at once.
    """
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(SUMMARIES))
    runs = instance.fetch_materializations(wanted, limit=_LATEST).records
    pilots = [] if runs else instance.fetch_observations(wanted, limit=_LATEST).records
    events = [record.asset_materialization or record.asset_observation for record in [*runs, *pilots]]
    seconds = []
    for metadata in [event.metadata for event in events if event]:
        done, total, load = (
            metadata[name].value if name in metadata else 0
            for name in ("summarized", "seconds_total", "seconds_load_model")
        )
        if isinstance(done, int) and isinstance(total, int | float) and isinstance(load, int | float) and done:
            seconds.append((total - load) / done)
    if not seconds:
        return 1
    return ranges_in_run(statistics.median(seconds) * rows_per_range, ranges, runs_at_once)
