"""Summarizes a range on the GPU resource, committing what is finished meanwhile."""

import sys
from datetime import UTC, datetime
from functools import cache, partial

import dagster as dg
from pydantic import Field

from sum_assets.benchmark.engine_gate import describe, require_gate
from sum_assets.database.device_losses import recorded_losses, require_not_quarantined
from sum_assets.database.results import ResultStore
from sum_assets.database.source import count_source
from sum_assets.database.verify import verify_range
from sum_assets.defs.metadata import range_metadata
from sum_assets.defs.partitions import id_ranges, joint_data_version, no_abstracts, ranges_of
from sum_assets.defs.resources import GpuResource, PostgresResource, SummarizerResource
from sum_assets.errors import UserError
from sum_assets.pipeline import summarize_range
from sum_assets.progress import Progress, ProgressLog
from sum_assets.range_report import render_range_report
from sum_assets.stopping import deadline, stop_between_batches
from sum_assets.summarizer import Phases, open_summarizer, resolve_settings
from sum_assets.summarizer.device_lease import device_lease


class SummariesConfig(dg.Config):
    """Which part of a range to summarize, and until when."""

    limit: int | None = Field(
        default=None,
        description="Make a pilot of so many abstracts: the first of the range by a hash of their ID. Without it: all.",
    )
    overwrite: bool = Field(default=False, description="Generate abstracts again that already have a current summary.")
    stop_at: str | None = Field(
        default=None,
        description="Stop cleanly at this time: 07:00 (the first after the launch), or an ISO date and time.",
    )


@dg.asset(
    partitions_def=id_ranges,
    deps=["abstracts"],
    group_name="corpus",
    kinds={"huggingface", "pytorch"},
    code_version="1",
    pool="gpu",
    # For what a fresh process fixes: a lost device, a killed step, a row that an engine hangs on, which takes three. A
    # failure that a person must fix is not retried.
    retry_policy=dg.RetryPolicy(max_retries=3, delay=10),
)
def summaries(
    context: dg.AssetExecutionContext,
    config: SummariesConfig,
    gpu: GpuResource,
    summarizer: SummarizerResource,
    postgres: PostgresResource,
) -> dg.MaterializeResult[None]:
    """Summaries of an ID range, generated under one fingerprint, with the time they took.

    Stop it at any moment: a repeated run generates only what is missing or stale.
    """
    versions = []
    with ranges_of(context) as ranges:
        if config.limit is not None and config.limit < 1:
            raise UserError(f"limit is at least 1, not {config.limit}. Leave it out to take the whole range.")
        stop_at = deadline(config.stop_at, _launched(context)) if config.stop_at else None
        log = partial(_log, context)
        with device_lease(gpu.settings(), log) as leased, postgres.database() as database:
            database.outages.on_return = log
            phases = Phases()
            with phases("load_model"):
                resolved = resolve_settings(leased, summarizer.settings())
            device, fingerprint = resolved.device.torch_name, resolved.fingerprint
            database.run(require_not_quarantined, device)
            open_engine = cache(lambda: open_summarizer(resolved))
            store = ResultStore(fingerprint, context.run.run_id, config.overwrite)
            database.run(store.register, {"model": summarizer.model, **resolved.text_settings()})
            verdict = None
            if config.limit is None:
                with recorded_losses(database, device, context.run.run_id):
                    verdict = require_gate(database, resolved, store, open_engine, phases, log)
            corpus_rows = database.run(count_source)
            for id_range in ranges:
                with recorded_losses(database, device, context.run.run_id), stop_between_batches(stop_at) as stop:
                    result = summarize_range(
                        database,
                        id_range,
                        open_engine,
                        store,
                        resolved.all_settings(),
                        limit=config.limit,
                        phases=phases,
                        on_progress=ProgressLog(id_range.key, log, partial(_observe, context, id_range.key)),
                        stop=stop,
                    )
                state = database.run(verify_range, id_range, fingerprint)
                if not state.source:
                    log(no_abstracts(id_range))
                log(f"{id_range.key}\n{render_range_report(result, corpus_rows)}")
                metadata = range_metadata(result, corpus_rows, state, database.outages)
                if verdict:
                    metadata["gate"] = dg.MetadataValue.text(describe(verdict))
                context.add_asset_metadata(metadata, partition_key=id_range.key)
                versions.append(f"{fingerprint}-{state.content_hash[:32]}")
                phases = Phases()
    return dg.MaterializeResult(data_version=joint_data_version(versions))


def _log(context: dg.AssetExecutionContext, text: str) -> None:
    """Log, or print where Dagster's own database is away: a run does not fail for a line of its log."""
    try:
        context.log.info(text)
    except Exception as error:
        print(f"{text} (not logged: {type(error).__name__})", file=sys.stderr)


def _observe(context: dg.AssetExecutionContext, key: str, progress: Progress) -> None:
    context.log_event(
        dg.AssetObservation(
            "summaries",
            partition=key,
            metadata={
                "done": progress.done,
                "total": progress.total,
                "abstracts_per_second_so_far": progress.per_second,
            },
        )
    )


def _launched(context: dg.AssetExecutionContext) -> datetime:
    """Return when the run was launched, or the backfill that it is part of."""
    if backfill_id := context.run.tags.get("dagster/backfill"):
        backfill = context.instance.get_backfill(backfill_id)
        if backfill is not None:
            return datetime.fromtimestamp(backfill.backfill_timestamp, tz=UTC)
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp if record else datetime.now(tz=UTC)
