"""The assets: thin, each reads its partitions, calls the library, and attaches metadata."""

from sum_assets.defs.assets.benchmark import benchmark, benchmark_report
from sum_assets.defs.assets.comparison import comparison
from sum_assets.defs.assets.corpus import corpus
from sum_assets.defs.assets.sweep import sweep

__all__ = ["benchmark", "benchmark_report", "comparison", "corpus", "sweep"]
