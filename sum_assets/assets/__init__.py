"""The assets: thin, each reads its partitions, calls the library, and attaches metadata."""

from sum_assets.assets.abstracts import abstracts
from sum_assets.assets.summaries import summaries
from sum_assets.assets.summary_table import summary_table

__all__ = ["abstracts", "summaries", "summary_table"]
