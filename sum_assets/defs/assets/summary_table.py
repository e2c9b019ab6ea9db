"""Publishes one fingerprint of a range into the table that readers query."""

import dagster as dg
from pydantic import Field

from sum_assets.database.publish import Publication, publish
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import Database
from sum_assets.defs.partitions import id_ranges, ranges_of
from sum_assets.defs.resources import PostgresResource
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange


class SummaryTableConfig(dg.Config):
    """What to publish."""

    fingerprint: str | None = Field(
        default=None,
        description="The fingerprint to publish. Without one: that of the range's newest `summaries`.",
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
        for id_range in ranges:
            fingerprint = config.fingerprint or _newest_fingerprint(context, id_range.key)
            publication = _publish(database, id_range, fingerprint, context.run.run_id)
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": publication.state.published,
                    "dagster/table_name": "sum_assets.abstract_summary",
                    "fingerprint": fingerprint,
                    "source": publication.state.source,
                    "published": publication.state.published,
                    "rejected": publication.state.rejected,
                    "written": publication.written,
                    "withdrawn": publication.withdrawn,
                },
                partition_key=id_range.key,
            )
    return dg.MaterializeResult()


def _publish(database: Database, id_range: IdRange, fingerprint: str, run_id: str) -> Publication:
    with range_lease(database, id_range, run_id) as lease:
        return database.run(publish, id_range, fingerprint, lease)


def _newest_fingerprint(context: dg.AssetExecutionContext, key: str) -> str:
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey("summaries"), asset_partitions=[key]), limit=1
    ).records
    materialization = records[0].asset_materialization if records else None
    fingerprint = materialization.metadata.get("fingerprint") if materialization else None
    if fingerprint is None:
        raise UserError(f"`summaries` of {key} was never materialized. Materialize it, then publish.")
    return str(fingerprint.value)
