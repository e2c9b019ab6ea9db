"""Logs the materialization of one ID range, and reads what earlier runs logged.

Dagster itself would log all ranges of a run together, with one data version, and only if none failed.
"""

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_RUN_ID_TAG


def log_materialization(
    context: dg.AssetExecutionContext,
    asset: str,
    key: str,
    data_version: str,
    metadata: Mapping[str, dg.MetadataValue | float | int | str],
) -> None:
    """Log that an asset of this step was materialized for one range.

    The tags are those by which Dagster sees that it has become stale, so what it depends on is to be logged first.
    """
    asset_key = dg.AssetKey(asset)
    spec = context.assets_def.specs_by_key[asset_key]
    latest = context.instance.get_latest_data_version_record
    inputs = {dep.asset_key: latest(dep.asset_key, partition_key=key) for dep in spec.deps}
    tags = materialization_tags(data_version, spec, inputs)
    if backfill := context.run.tags.get(BACKFILL_ID_TAG):
        tags[BACKFILL_ID_TAG] = backfill
    context.log_event(dg.AssetMaterialization(asset_key, partition=key, metadata=metadata, tags=tags))


def materialization_tags(
    data_version: str, spec: dg.AssetSpec, inputs: Mapping[dg.AssetKey, dg.EventLogRecord | None]
) -> dict[str, str]:
    """Return the tags of a materialization that was made from these materializations of what it depends on."""
    tags = {
        DATA_VERSION_TAG: data_version,
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        CODE_VERSION_TAG: spec.code_version or "",
    }
    for asset, record in inputs.items():
        version = record and extract_data_version_from_entry(record.event_log_entry)
        tags[get_input_data_version_tag(asset)] = (version or DEFAULT_DATA_VERSION).value
        tags[get_input_event_pointer_tag(asset)] = str(record.storage_id if record else NULL_EVENT_POINTER)
    return tags


def materialized_here(context: dg.AssetExecutionContext, asset: str) -> set[str]:
    """Return the ranges for which this run has materialized an asset already: in a try of the step that failed."""
    return {m.partition for m in _materializations(context.instance, context.run, asset) if m.partition}


def fingerprints_of_parents(context: dg.AssetExecutionContext, asset: str) -> dict[str, str]:
    """Return by ID range the fingerprint of an asset in the runs that this one retries or re-executes."""
    fingerprints: dict[str, str] = {}
    run: dg.DagsterRun | None = context.run
    while run:
        for materialization in _materializations(context.instance, run, asset):
            fingerprints.setdefault(materialization.partition or "", fingerprint_of(materialization))
        parent = run.tags.get(PARENT_RUN_ID_TAG)
        run = context.instance.get_run_by_id(parent) if parent else None
    return fingerprints


def newest_materialization(
    instance: dg.DagsterInstance, asset: str, key: str | None = None
) -> dg.EventLogRecord | None:
    """Return the newest materialization of one partition, or of any, None without one."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key] if key else None), limit=1
    ).records
    return records[0] if records else None


def newest_fingerprint(context: dg.AssetExecutionContext, asset: str, key: str) -> str | None:
    """Return the fingerprint of the newest materialization of one range, None without any."""
    record = newest_materialization(context.instance, asset, key)
    return fingerprint_of(record.asset_materialization) if record and record.asset_materialization else None


def _materializations(instance: dg.DagsterInstance, run: dg.DagsterRun, asset: str) -> list[dg.AssetMaterialization]:
    """Return what a run materialized of an asset, the newest first."""
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    found = [event.asset_materialization for event in reversed(events)]
    return [m for m in found if m and m.asset_key == dg.AssetKey(asset)]


def fingerprint_of(materialization: dg.AssetMaterialization) -> str:
    """Return the fingerprint that a materialization names."""
    return str(materialization.metadata["fingerprint"].value)
