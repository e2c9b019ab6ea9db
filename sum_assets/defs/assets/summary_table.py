"""Publishes one fingerprint of a range into the table that readers query."""

import dagster as dg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG
from pydantic import Field

from sum_assets.database.publish import Publication, publish
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import Database
from sum_assets.defs.partitions import id_ranges, ranges_of
from sum_assets.defs.resources import PostgresResource
from sum_assets.id_range import IdRange

SUMMARIES = dg.AssetKey("summaries")


class SummaryTableConfig(dg.Config):
    """What to publish."""

    fingerprint: str | None = Field(
        default=None,
        description="The fingerprint to publish. Without one: that of this run's `summaries`, or of the run that it "
        "retries. Where neither has any: that of the range's newest.",
    )


@dg.asset(
    partitions_def=id_ranges,
    deps=["summaries"],
    group_name="corpus",
    kinds={"postgres", "table"},
    code_version="1",
)
def summary_table(
    context: dg.AssetExecutionContext, config: SummaryTableConfig, postgres: PostgresResource
) -> dg.MaterializeResult[None]:
    """The published summaries of an ID range, replaced in one transaction, and verified in it."""
    with ranges_of(context) as ranges, postgres.database() as database:
        own = {} if config.fingerprint else _own_fingerprints(context)
        for id_range in ranges:
            fingerprint = config.fingerprint or own.get(id_range.key) or _newest_fingerprint(context, id_range.key)
            publication = _publish(database, id_range, fingerprint, context.run.run_id)
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": publication.state.published,
                    "dagster/table_name": "sum_assets.abstract_summary",
                    "fingerprint": fingerprint or "none",
                    "source": publication.state.source,
                    "published": publication.state.published,
                    "rejected": publication.state.rejected,
                    "written": publication.written,
                    "withdrawn": publication.withdrawn,
                },
                partition_key=id_range.key,
            )
    return dg.MaterializeResult()


def _publish(database: Database, id_range: IdRange, fingerprint: str | None, run_id: str) -> Publication:
    with range_lease(database, id_range, run_id) as lease:
        return database.run(publish, id_range, fingerprint, lease)


def _own_fingerprints(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Return by ID range the fingerprint of `summaries` in this run, or in one that it retries or re-executes."""
    fingerprints: dict[str, str] = {}
    run: dg.DagsterRun | None = context.run
    while run:
        events = context.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        for event in reversed(events):
            materialization = event.asset_materialization
            if materialization and materialization.asset_key == SUMMARIES and materialization.partition:
                fingerprints.setdefault(materialization.partition, _fingerprint_of(materialization))
        parent = run.tags.get(PARENT_RUN_ID_TAG)
        run = context.instance.get_run_by_id(parent) if parent else None
    return fingerprints


def _newest_fingerprint(context: dg.AssetExecutionContext, key: str) -> str | None:
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=SUMMARIES, asset_partitions=[key]), limit=1
    ).records
    materialization = records[0].asset_materialization if records else None
    return _fingerprint_of(materialization) if materialization else None


def _fingerprint_of(materialization: dg.AssetMaterialization) -> str:
    return str(materialization.metadata["fingerprint"].value)
