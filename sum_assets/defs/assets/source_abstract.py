"""The asset of the user's own table. Nothing makes it: it is there."""

import dagster as dg

from sum_assets.defs.asset_names import SOURCE
from sum_assets.defs.table_schemas import SOURCE_ABSTRACT

source_abstract = dg.AssetSpec(
    SOURCE,
    group_name="corpus",
    kinds={"postgres"},
    metadata=SOURCE_ABSTRACT,
    description="Your own table, seen through a view, or the abstracts that `sum-assets load` has loaded. "
    "`sum-assets init --source` chooses the table. Nothing here writes to it.",
)
