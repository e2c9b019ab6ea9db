"""The composition root: everything Dagster sees."""

import dagster as dg

from sum_assets.defs import assets
from sum_assets.defs.asset_names import CORPUS_ASSETS, PILOT, PILOT_ROWS, SUMMARIES
from sum_assets.defs.assets.corpus_status import corpus_status
from sum_assets.defs.console_log import console_log
from sum_assets.defs.recorded_executor import recorded
from sum_assets.defs.resources import (
    GpuResource,
    PostgresResource,
    SummarizerResource,
    checked_at_launch,
    default_summarizer,
)
from sum_assets.defs.sensors import (
    end_runs_without_a_process,
    grow_id_ranges,
    record_corpus_status,
    summarize_edited_ranges,
)
from sum_assets.summarizer import GpuSettings, SummarizerSettings

# One step at a time, each in a process of its own: what a step breaks in the driver ends with its process.
# Nothing of that is the launch's to change: the empty schema refuses what Dagster would otherwise ignore.
_executor = recorded(
    dg.multiprocess_executor.configured(lambda _: {"max_concurrent": 1}, name="multiprocess", config_schema={})
)

summarize_corpus = dg.define_asset_job(
    "summarize_corpus",
    selection=list(CORPUS_ASSETS),
    description="Profile an ID range, summarize it, publish it.",
)

pilot = dg.define_asset_job(
    PILOT,
    selection=dg.AssetSelection.assets(SUMMARIES).without_checks(),  # a pilot is no materialization to judge
    description=f"Summarize {PILOT_ROWS} abstracts of an ID range, or `limit`. Nothing is published; the numbers and "
    "examples are in an observation of `summaries`.",
)

defs = dg.Definitions(
    assets=[*dg.load_assets_from_package_module(assets), corpus_status],
    jobs=[summarize_corpus, pilot],
    sensors=[end_runs_without_a_process, grow_id_ranges, record_corpus_status, summarize_edited_ranges],
    resources={
        "gpu": checked_at_launch(GpuResource, GpuSettings, {}),
        "summarizer": checked_at_launch(SummarizerResource, SummarizerSettings, default_summarizer().model_dump()),
        "postgres": PostgresResource(),
    },
    executor=_executor,
    loggers={"console": console_log},
)
