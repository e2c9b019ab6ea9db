"""Looks at a range of the user's own table, and copies nothing."""

import dagster as dg

from sum_assets.database.profile import FRACTIONS, Profile, profile, record_profile
from sum_assets.database.reconnect import Database
from sum_assets.defs.partitions import id_ranges, joint_data_version, ranges_of
from sum_assets.defs.resources import PostgresResource
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange


@dg.asset(partitions_def=id_ranges, group_name="corpus", kinds={"postgres"}, code_version="1")
def abstracts(context: dg.AssetExecutionContext, postgres: PostgresResource) -> dg.MaterializeResult[None]:
    """Rows, unusable rows and lengths of an ID range of `source_abstract`, as they are now.

    The data version is a hash of the range's content: materialize this again and, where an abstract was
    edited, `summaries` shows as stale.
    """
    hashes = []
    with ranges_of(context) as ranges, postgres.database() as database:
        for id_range in ranges:
            found = _profile(database, id_range)
            hashes.append(found.content_hash)
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": found.rows,
                    "dagster/table_name": "sum_assets.source_abstract",
                    "repeated_ids": found.rows - found.ids,
                    "null": found.null_rows,
                    "empty": found.empty_rows,
                    "blank": found.blank_rows,
                    "over_long": found.over_long_rows,
                    "characters_mean": round(found.mean_characters, 1),
                    **{
                        f"characters_p{round(fraction * 100):02}": characters
                        for fraction, characters in zip(FRACTIONS, found.percentiles, strict=False)
                    },
                },
                partition_key=id_range.key,
            )
    return dg.MaterializeResult(data_version=joint_data_version(hashes))


def _profile(database: Database, id_range: IdRange) -> Profile:
    found = database(lambda connection: profile(connection, id_range))
    if not found.rows:
        raise UserError(f"The range {id_range.key} has no abstracts in the source.")
    database(lambda connection: record_profile(connection, id_range, found))
    return found
