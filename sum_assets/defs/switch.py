"""What a change of the published fingerprint of all ID ranges asks of Dagster, and tells it."""

import uuid
from collections.abc import Collection, Mapping

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from psycopg import Connection

from sum_assets.database.publish import Progress, Publication
from sum_assets.defs.asset_names import JOBS_WITHOUT_TABLE, SUMMARIES, SUMMARY_TABLE
from sum_assets.defs.assets.corpus import corpus, data_version
from sum_assets.defs.instance import recorded_run
from sum_assets.defs.lost_runs import end_lost_runs
from sum_assets.defs.metadata import publication_metadata
from sum_assets.defs.range_events import fingerprint_of, materialization_tags
from sum_assets.defs.run_failures import failure_message
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

_TABLE, _SUMMARIES = dg.AssetKey(SUMMARY_TABLE), dg.AssetKey(SUMMARIES)
_MOST_MATERIALIZATIONS = 1000


def require_no_publishing_run(connection: Connection, instance: dg.DagsterInstance) -> None:
    """Raise UserError where a run or backfill would yet publish its own fingerprint: ranges would be of two."""
    end_lost_runs(instance, connection)
    filters = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    works: list[tuple[str, str | None, Collection[dg.AssetKey] | None]]
    works = [
        (f"backfill {b.backfill_id}", b.job_name, b.asset_selection) for b in instance.get_backfills(filters=filters)
    ]
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    works += [(f"run {run.run_id}", run.job_name, run.asset_selection) for run in runs]
    # What names no assets takes all of its job.
    if found := [
        name for name, job, assets in works if (job not in JOBS_WITHOUT_TABLE if assets is None else _TABLE in assets)
    ]:
        raise UserError(
            f"The {found[0]} is not finished, and would publish summaries of its own. Wait for it, or end it; then run "
            "this again."
        )


def log_publications(
    instance: dg.DagsterInstance, publications: Mapping[IdRange, Publication], fingerprint: str, progress: Progress
) -> None:
    """Log a materialization of `summary_table` for each range, as made from the summaries of this fingerprint.

    Where newer summaries are of another one, Dagster rightly shows the table as stale.
    """
    for id_range in progress(list(publications)):
        publication = publications[id_range]
        made = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=_SUMMARIES, asset_partitions=[id_range.key]), limit=_MOST_MATERIALIZATIONS
        ).records
        upstream = next(
            (r for r in made if r.asset_materialization and fingerprint_of(r.asset_materialization) == fingerprint),
            None,
        )
        version = data_version(fingerprint, publication.state)
        tags = materialization_tags(version, corpus.specs_by_key[_TABLE], {_SUMMARIES: upstream})
        metadata = publication_metadata(publication, fingerprint)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(_TABLE, partition=id_range.key, metadata=metadata, tags=tags)
        )


def check_tables(instance: dg.DagsterInstance) -> str | None:
    """Check `summary_table` of all ranges in a run, as the UI's *Execute all* does, and return what is wrong, or None.

    Of the checks that belong to no run, Dagster stores one for each partition, and never a second.
    """
    from sum_assets.defs.definitions import defs  # definitions import this module's siblings, not the reverse

    checks = {spec.key for spec in corpus.check_specs if spec.asset_key == _TABLE}
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection=checks)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    run_id = str(uuid.uuid4())
    with recorded_run(instance, run_id):
        result = job.execute_in_process(quiet, instance=instance, raise_on_error=False, run_id=run_id)
    return None if result.success else failure_message(result)
