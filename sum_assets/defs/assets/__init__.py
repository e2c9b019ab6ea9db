"""The assets: thin, each reads its partitions, calls the library, and attaches metadata."""

from sum_assets.defs.assets.abstracts import abstracts
from sum_assets.defs.assets.benchmark import benchmark, benchmark_report
from sum_assets.defs.assets.summaries import summaries
from sum_assets.defs.assets.summary_table import summary_table

__all__ = ["abstracts", "benchmark", "benchmark_report", "summaries", "summary_table"]
