"""Adds ID ranges as the corpus grows."""

import dagster as dg

from sum_assets.database.range_registry import parse_keys
from sum_assets.database.ranges import full_ranges
from sum_assets.defs.partitions import id_ranges
from sum_assets.defs.resources import PostgresResource
from sum_assets.errors import UserError


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
    try:
        with postgres.connection() as connection:
            new = full_ranges(connection, parse_keys(keys)[0])
    except UserError as error:
        raise dg.Failure(description=str(error)) from error
    if not new:
        return dg.SkipReason("No full range of new abstracts.")
    return dg.SensorResult(dynamic_partitions_requests=[id_ranges.build_add_request([r.key for r in new])])
