"""The composition root: everything Dagster sees."""

import dagster as dg

from sum_assets.defs.assets import abstracts, benchmark, benchmark_report, summaries, summary_table
from sum_assets.defs.resources import GpuResource, PostgresResource, SummarizerResource, default_summarizer
from sum_assets.defs.sensors import grow_id_ranges

# One step at a time, each in a process of its own: what a step breaks in the driver ends with its process.
_executor = dg.multiprocess_executor.configured({"max_concurrent": 1})

summarize_corpus = dg.define_asset_job(
    "summarize_corpus",
    selection=[abstracts, summaries, summary_table],
    description="Look at an ID range, summarize it, publish it.",
)

defs = dg.Definitions(
    assets=[abstracts, summaries, summary_table, benchmark, benchmark_report],
    jobs=[summarize_corpus],
    sensors=[grow_id_ranges],
    resources={
        # A bare instance would fall back to class defaults under a partial override.
        "gpu": GpuResource.configure_at_launch(),
        "summarizer": SummarizerResource.configure_at_launch(**default_summarizer().model_dump()),
        "postgres": PostgresResource(),
    },
    executor=_executor,
)
