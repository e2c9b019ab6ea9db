"""The composition root: everything Dagster sees."""

import dagster as dg

from sum_assets.defs.assets import (
    benchmark,
    benchmark_report,
    comparison,
    corpus,
    corpus_status,
    source_abstract,
    sweep,
)
from sum_assets.defs.checked_config import checked_resource
from sum_assets.defs.console_log import console_log
from sum_assets.defs.jobs import JOBS
from sum_assets.defs.ownership import spec_with_owners, with_owners
from sum_assets.defs.recorded_executor import recorded
from sum_assets.defs.resources import (
    GpuResource,
    PostgresResource,
    PostgresSettings,
    SummarizerResource,
    default_summarizer,
)
from sum_assets.defs.sensors import (
    end_runs_without_a_process,
    grow_id_ranges,
    record_corpus_status,
    report_measured_presets,
    summarize_edited_ranges,
    summarize_new_ranges,
)
from sum_assets.summarizer import GpuSettings, SummarizerSettings

# One step at a time, each in a process of its own: what a step breaks in the driver ends with its process.
# Nothing of that is the launch's to change: the empty schema refuses what Dagster would otherwise ignore.
_executor = recorded(
    dg.multiprocess_executor.configured(lambda _: {"max_concurrent": 1}, name="multiprocess", config_schema={})
)

# Dagster wants one, and its own would show folders and pickling in each launchpad.
_io_manager = dg.IOManagerDefinition(
    lambda _: dg.InMemoryIOManager(),  # type: ignore[no-untyped-call]
    config_schema={},
    description="Not used: the assets keep what they make in PostgreSQL. Leave it out.",
)

defs = dg.Definitions(
    assets=[
        *(with_owners(asset) for asset in (benchmark, benchmark_report, comparison, corpus, sweep)),
        spec_with_owners(corpus_status.corpus_status, corpus_status),
        spec_with_owners(source_abstract.source_abstract, source_abstract),
    ],
    jobs=JOBS,
    sensors=[
        end_runs_without_a_process,
        grow_id_ranges,
        record_corpus_status,
        report_measured_presets,
        summarize_edited_ranges,
        summarize_new_ranges,
    ],
    resources={
        "gpu": checked_resource(GpuResource, GpuSettings, {}, may_be_auto=("batch_size", "cuda_graphs")),
        "summarizer": checked_resource(SummarizerResource, SummarizerSettings, default_summarizer().model_dump()),
        "postgres": checked_resource(PostgresResource, PostgresSettings, {}),
        "io_manager": _io_manager,
    },
    executor=_executor,
    loggers={"console": console_log},
)
