"""Summarizes a range on the GPU resource, committing each finished batch as it appears."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial

import dagster as dg
import psutil
from pydantic import Field

from sum_assets.benchmark.engine_gate import require_gate
from sum_assets.database.device_losses import note_loss, require_trusted
from sum_assets.database.profile import profile
from sum_assets.database.reconnect import Database
from sum_assets.database.results import Writer, count_source
from sum_assets.database.verify import RangeState, verify_range
from sum_assets.defs.metadata import report_metadata
from sum_assets.defs.partitions import id_ranges, joint_data_version, ranges_of, tell
from sum_assets.defs.resources import GpuResource, PostgresResource, SummarizerResource
from sum_assets.errors import DeviceLostError, UserError
from sum_assets.id_range import IdRange
from sum_assets.pipeline import Progress, summarize_range
from sum_assets.range_report import report_text
from sum_assets.stopping import deadline, stop_between_batches
from sum_assets.summarizer import Phases, open_summarizer, resolve_settings
from sum_assets.summarizer.device_lease import device_lease

LOG_EVERY = 30.0
OBSERVE_EVERY = 300.0


class SummariesConfig(dg.Config):
    """What to do of a range."""

    limit: int | None = Field(
        default=None,
        description="A pilot: only the first so many abstracts of the range by hash of their ID. None takes all.",
    )
    overwrite: bool = Field(default=False, description="Generate again what is there already.")
    stop_at: str | None = Field(
        default=None,
        description="Stop cleanly at this time: 07:00, the first after the launch, or an ISO date and time.",
    )


@dg.asset(
    partitions_def=id_ranges,
    deps=["abstracts"],
    group_name="corpus",
    kinds={"huggingface", "pytorch"},
    code_version="1",
    pool="gpu",
    # For what a fresh process mends: a lost device, a killed step, a row that an engine hangs on, which takes three. A
    # failure that a person must mend is not retried.
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
        say = partial(tell, context)
        with device_lease(gpu.settings(), say) as leased, postgres.database() as database:
            database.on_return = say
            phases = Phases()
            with phases("load_model"):
                resolved = resolve_settings(leased, summarizer.settings())
            device = resolved.device.torch_name
            database(lambda connection: require_trusted(connection, device))
            if config.limit is None and database(
                lambda connection: require_gate(connection, leased, summarizer, resolved.fingerprint, say)
            ):
                phases = Phases()  # judging is no part of a range's time
            open_engine = cache(lambda: open_summarizer(resolved))
            writer = Writer(resolved.fingerprint, context.run.run_id, config.overwrite)
            text_settings = {"model": summarizer.model, **resolved.text_settings()}
            database(lambda connection: writer.register(connection, text_settings))
            corpus_rows = database(count_source)
            for id_range in ranges:
                with _noting_losses(database, device, context.run.run_id), stop_between_batches(stop_at) as stop:
                    report = summarize_range(
                        database,
                        id_range,
                        open_engine,
                        writer,
                        resolved.all_settings(),
                        limit=config.limit,
                        phases=phases,
                        on_progress=_narrator(context, id_range.key),
                        stop=stop,
                    )
                state, content_hash = _afterwards(database, id_range, resolved.fingerprint)
                say(f"{id_range.key}\n{report_text(report, corpus_rows)}")
                metadata = report_metadata(report, corpus_rows, state, (database.outages, database.seconds_away))
                context.add_asset_metadata(metadata, partition_key=id_range.key)
                versions.append(f"{resolved.fingerprint}-{content_hash[:32]}")
                phases = Phases()
    return dg.MaterializeResult(data_version=joint_data_version(versions))


@contextmanager
def _noting_losses(database: Database, device: str, run_id: str) -> Iterator[None]:
    try:
        yield
    except DeviceLostError as error:
        said = str(error)
        database(lambda connection: note_loss(connection, device, said, run_id))
        raise


def _afterwards(database: Database, id_range: IdRange, fingerprint: str) -> tuple[RangeState, str]:
    """Return the state of a range, and the hash of its content."""
    state = database(lambda connection: verify_range(connection, id_range, fingerprint))
    return state, database(lambda connection: profile(connection, id_range)).content_hash


def _launched(context: dg.AssetExecutionContext) -> datetime:
    """Return when the run was launched, or the backfill that it is part of."""
    if backfill_id := context.run.tags.get("dagster/backfill"):
        backfill = context.instance.get_backfill(backfill_id)
        if backfill is not None:
            return datetime.fromtimestamp(backfill.backfill_timestamp, tz=UTC)
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp if record else datetime.now(tz=UTC)


def _narrator(context: dg.AssetExecutionContext, key: str) -> Callable[[Progress], None]:
    """Return a callback that logs every half minute and leaves an observation every few minutes.

    Not more often: every log line is an insert into Dagster's database.
    """
    logged = observed = time.monotonic()

    def narrate(progress: Progress) -> None:
        nonlocal logged, observed
        now = time.monotonic()
        if now - logged < LOG_EVERY:
            return
        logged = now
        tell(
            context,
            f"{key}: {progress.done} of {progress.total}, {progress.per_second:.2f} abstracts/s, "
            f"{progress.seconds_left / 60:.0f} min left, {psutil.Process().memory_info().rss / 2**30:.1f} GiB",
        )
        if now - observed >= OBSERVE_EVERY:
            observed = now
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

    return narrate
