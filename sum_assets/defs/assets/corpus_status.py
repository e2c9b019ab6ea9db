"""The asset of how far the corpus is. No run makes it: the sensor `record_corpus_status` does."""

import dagster as dg

from sum_assets.defs.asset_names import CORPUS_STATUS

corpus_status = dg.AssetSpec(
    CORPUS_STATUS,
    group_name="status",
    kinds={"postgres"},
    description="How much of the corpus is done, how fast the runs are, and when they will be through. A sensor "
    "records it while a backfill of ID ranges goes on. `sum-assets status` says the same at any time.",
)
