"""The corpus by ID range: profiled, summarized on the GPU resource, and published, one range after the other."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import dagster as dg

from sum_assets.benchmark.engine_gate import describe, require_gate
from sum_assets.database.device_losses import recorded_losses, require_not_quarantined
from sum_assets.database.publish import publish
from sum_assets.database.range_count import corpus_rows, count_after_run
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import Database
from sum_assets.database.results import ResultStore
from sum_assets.database.source_profile import profile, record_profile
from sum_assets.database.verify import RangeState, verify_range
from sum_assets.defs import range_checks
from sum_assets.defs.asset_names import ABSTRACTS, CORPUS_ASSETS, CORPUS_OP, SUMMARIES, SUMMARY_TABLE
from sum_assets.defs.checked_config import checked_fields, config_of
from sum_assets.defs.checks import check_outputs
from sum_assets.defs.corpus_config import CorpusConfig
from sum_assets.defs.corpus_specs import CORPUS_SPECS
from sum_assets.defs.metadata import profile_metadata, publication_metadata, range_metadata
from sum_assets.defs.partitions import backfill_policy, id_ranges, no_abstracts, ranges_of
from sum_assets.defs.range_events import (
    fingerprints_of_parents,
    log_materialization,
    materialized_here,
    newest_fingerprint,
)
from sum_assets.defs.resources import GpuResource, PostgresResource, SummarizerResource
from sum_assets.defs.run_times import launched_at, start_seconds
from sum_assets.errors import RangeError, StoppedError, UnsupportedError, UserError
from sum_assets.id_range import IdRange
from sum_assets.pipeline import summarize_range
from sum_assets.progress import Progress, ProgressLog
from sum_assets.range_report import Outlook, render_range_report
from sum_assets.stopping import deadline, stop_between_batches
from sum_assets.summarizer import Phases
from sum_assets.summarizer.kept_summarizer import summarizer_of_run

#: Settings by which the UI's list of runs can be filtered.
_TAGS = ("engine", "model", "precision", "quantization", "fingerprint")


@dg.multi_asset(
    name=CORPUS_OP,
    specs=CORPUS_SPECS,
    partitions_def=id_ranges,
    backfill_policy=backfill_policy(),
    can_subset=True,
    check_specs=range_checks.specs(),
    pool="gpu",
    config_schema=checked_fields(CorpusConfig),
    # For what a fresh process fixes: a lost device, a killed step, a row that an engine hangs on, which takes three. A
    # failure that a person must fix is not retried.
    retry_policy=dg.RetryPolicy(max_retries=3, delay=10),
)
def corpus(
    context: dg.AssetExecutionContext, gpu: GpuResource, summarizer: SummarizerResource, postgres: PostgresResource
) -> Iterator[dg.Output[None]]:
    """Take the ID ranges of a run one by one; one that fails does not keep the others from being done."""
    config = config_of(context, CorpusConfig).of_job(context.run.job_name)
    wanted = [asset for asset in CORPUS_ASSETS if dg.AssetKey(asset) in context.selected_asset_keys]
    with ranges_of(context) as ranges, ExitStack() as stack:
        if config.limit is not None:
            wanted = [asset for asset in wanted if asset != SUMMARY_TABLE]
            if SUMMARIES not in wanted:
                raise UserError("`limit` makes a pilot of `summaries`, which this run does not. Leave it out.")
        summarize, fingerprints = None, {}
        database = stack.enter_context(postgres.database())
        database.outages.on_return = partial(_log, context)
        if SUMMARIES in wanted:
            summarize = stack.enter_context(_summarizing(context, config, gpu, summarizer, database))
        elif not config.fingerprint:
            fingerprints = fingerprints_of_parents(context, SUMMARIES)
        done = materialized_here(context, wanted[-1]) if wanted else set()
        failures: dict[str, RangeError] = {}
        for id_range in ranges:
            key = id_range.key
            if key in done:
                continue
            try:
                if ABSTRACTS in wanted:
                    _profile(context, database, id_range)
                made = summarize(id_range) if summarize else fingerprints.get(key)
                if SUMMARY_TABLE in wanted:
                    fingerprint = config.fingerprint or made or newest_fingerprint(context, SUMMARIES, key)
                    _publish(context, database, id_range, fingerprint)
                if config.limit is None and (failed := range_checks.check_again(context, database, id_range, wanted)):
                    raise RangeError(failed[0])
            except RangeError as error:
                failures[key] = error
                context.log.error(f"{key} failed: {error}")
        if failures:
            raise UserError(_describe(failures, len(ranges)))
    yield from check_outputs(context)


def _describe(failures: dict[str, RangeError], ranges: int) -> str:
    if ranges == 1:
        return str(*failures.values())
    lines = "\n".join(f"{key}: {error}" for key, error in failures.items())
    return f"{len(failures)} of {ranges} ID ranges failed. The others are done.\n{lines}"


def _profile(context: dg.AssetExecutionContext, database: Database, id_range: IdRange) -> None:
    found = database.run(profile, id_range)
    if not found.rows:
        context.log.warning(no_abstracts(id_range))
    database.run(record_profile, id_range, found)
    log_materialization(context, ABSTRACTS, id_range.key, found.content_hash, profile_metadata(found))


def _publish(context: dg.AssetExecutionContext, database: Database, id_range: IdRange, fingerprint: str | None) -> None:
    try:
        with range_lease(database, id_range, context.run.run_id) as lease:
            publication = database.run(publish, id_range, fingerprint, lease)
    except RangeError:
        range_checks.check_table(context, id_range, database.run(verify_range, id_range, fingerprint))
        raise
    metadata = publication_metadata(publication, fingerprint)
    version = data_version(fingerprint, publication.state)
    log_materialization(context, SUMMARY_TABLE, id_range.key, version, metadata)
    range_checks.check_table(context, id_range, publication.state)


def data_version(fingerprint: str | None, state: RangeState) -> str:
    """Return the data version of a range: the fingerprint, and a hash of its abstracts."""
    return f"{fingerprint}-{state.content_hash[:32]}"


@contextmanager
def _summarizing(
    context: dg.AssetExecutionContext,
    config: CorpusConfig,
    gpu: GpuResource,
    summarizer: SummarizerResource,
    database: Database,
) -> Iterator[Callable[[IdRange], str]]:
    """Hold a device, and yield what summarizes a range on it and returns the fingerprint.

    The engine is opened for the first range that needs it, and stays open for the others.
    """
    started = start_seconds(context)
    stop_at = deadline(config.stop_at, launched_at(context)) if config.stop_at else None
    log = partial(_log, context)
    with summarizer_of_run(gpu.settings(), summarizer.settings(), log) as run:
        resolved, open_engine, phases = run.resolved, run.open, run.phases
        device, fingerprint = resolved.device.torch_name, resolved.fingerprint
        _tag(context, {"fingerprint": fingerprint, **resolved.all_settings()})
        database.run(require_not_quarantined, device)
        store = ResultStore(fingerprint, context.run.run_id, config.overwrite)
        database.run(store.register, {"model": summarizer.model, **resolved.text_settings()})
        verdict = None
        if config.limit is None:
            try:
                with recorded_losses(database, device, context.run.run_id):
                    verdict = require_gate(database, resolved, store, open_engine, phases, log)
            except UnsupportedError as error:
                range_checks.fail_gate(context, str(error))
                raise
        ranges = max(1, len(context.instance.get_dynamic_partitions(id_ranges.name or "")))
        outlook = Outlook(database.run(corpus_rows, ranges), ranges, 0.0, started)
        with stop_between_batches(stop_at) as stop:

            def summarize(id_range: IdRange) -> str:
                nonlocal phases, outlook
                own_phases, phases = phases, Phases()  # loading the model counts for the first range
                if stop.signal is not None:
                    raise StoppedError(f"Stopped before {id_range.key}. Run it again: it goes on there.")
                with recorded_losses(database, device, context.run.run_id):
                    result = summarize_range(
                        database,
                        id_range,
                        open_engine,
                        store,
                        resolved.all_settings(),
                        limit=config.limit,
                        phases=own_phases,
                        on_progress=ProgressLog(id_range.key, log, partial(_observe, context, id_range.key)),
                        stop=stop,
                    )
                outlook = replace(outlook, load_seconds=outlook.load_seconds + result.phases["load_model"])
                state = database.run(count_after_run, id_range, fingerprint)
                if not state.source:
                    log(no_abstracts(id_range))
                # As many of the corpus as of this range have a text.
                share = state.summarized / max(state.summarized + state.rejected, 1)
                projected = replace(outlook, rows=round(outlook.rows * share))
                log(f"{id_range.key}\n{render_range_report(result, projected)}")
                metadata = range_metadata(result, projected, state, database.outages)
                if verdict:
                    metadata["gate"] = dg.MetadataValue.text(describe(verdict))
                if config.limit is None:
                    log_materialization(context, SUMMARIES, id_range.key, data_version(fingerprint, state), metadata)
                    range_checks.check_summaries(context, database, id_range, state)
                else:  # the range is still to do, and what is published next is no pilot
                    context.log_event(dg.AssetObservation(SUMMARIES, partition=id_range.key, metadata=metadata))
                return fingerprint

            yield summarize


def _tag(context: dg.AssetExecutionContext, settings: Mapping[str, object]) -> None:
    """Tag the run with its settings, unless Dagster's own database is away: a run does not fail for a tag."""
    try:
        tags = {f"sum-assets/{name}": str(settings[name]) for name in _TAGS if name in settings}
        context.instance.add_run_tags(context.run.run_id, tags)
    except Exception as error:
        _log(context, f"The run has no tags: {type(error).__name__}")


def _log(context: dg.AssetExecutionContext, text: str) -> None:
    """Log, or print where Dagster's own database is away: a run does not fail for a line of its log."""
    try:
        context.log.info(text)
    except Exception as error:
        print(f"{text} (not logged: {type(error).__name__})", file=sys.stderr)


def _observe(context: dg.AssetExecutionContext, key: str, progress: Progress) -> None:
    so_far = {"done": progress.done, "total": progress.total, "abstracts_per_second_so_far": progress.per_second}
    context.log_event(dg.AssetObservation(SUMMARIES, partition=key, metadata=so_far))
