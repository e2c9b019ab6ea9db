"""Profiles a range of the user's own table, and copies nothing."""

import dagster as dg

from sum_assets.database.source_profile import FRACTIONS, profile, record_profile
from sum_assets.defs.partitions import id_ranges, joint_data_version, no_abstracts, ranges_of
from sum_assets.defs.resources import PostgresResource


@dg.asset(partitions_def=id_ranges, group_name="corpus", kinds={"postgres"}, code_version="1")
def abstracts(context: dg.AssetExecutionContext, postgres: PostgresResource) -> dg.MaterializeResult[None]:
    """Rows, unusable rows and lengths of an ID range of `source_abstract`, as they are now.

    The data version is a hash of the range's content: materialize this again and, where an abstract was
    edited, `summaries` shows as stale.
    """
    hashes = []
    with ranges_of(context) as ranges, postgres.database() as database:
        for id_range in ranges:
            range_profile = database.run(profile, id_range)
            if not range_profile.rows:
                context.log.warning(no_abstracts(id_range))
            database.run(record_profile, id_range, range_profile)
            hashes.append(range_profile.content_hash)
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": range_profile.rows,
                    "dagster/table_name": "sum_assets.source_abstract",
                    "repeated_ids": range_profile.rows - range_profile.ids,
                    "null": range_profile.null_rows,
                    "empty": range_profile.empty_rows,
                    "blank": range_profile.blank_rows,
                    "over_long": range_profile.over_long_rows,
                    "characters_mean": round(range_profile.mean_characters, 1),
                    **{
                        f"characters_p{round(fraction * 100):02}": characters
                        for fraction, characters in zip(FRACTIONS, range_profile.percentiles, strict=False)
                    },
                },
                partition_key=id_range.key,
            )
    return dg.MaterializeResult(data_version=joint_data_version(hashes))
