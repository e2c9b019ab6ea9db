"""Says when the benchmark report is out of date, and nothing that it compares is being measured."""

import dagster as dg

from sum_assets.defs.asset_names import BENCHMARK, BENCHMARK_REPORT, MEASURE
from sum_assets.defs.edited_runs import UNFINISHED
from sum_assets.defs.range_events import newest_materialization


def run_to_report(instance: dg.DagsterInstance) -> str | None:
    """Return the newest run of `benchmark`, if all have ended and the report is older. It counts where it failed, too.

    An automation condition would see what was materialized alone, and not that other presets are still to come.
    """
    records = instance.get_asset_records([dg.AssetKey(BENCHMARK)])
    run_id = records[0].asset_entry.last_run_id if records else None
    if run_id is None or any(_measures(run) for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))):
        return None
    record, report = instance.get_run_record_by_id(run_id), newest_materialization(instance, BENCHMARK_REPORT)
    if record is None or record.end_time is None or (report and report.timestamp > record.end_time):
        return None
    return run_id


def _measures(run: dg.DagsterRun) -> bool:
    return run.job_name == MEASURE or dg.AssetKey(BENCHMARK) in (run.asset_selection or ())
