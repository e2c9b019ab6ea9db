"""Requests runs for ID ranges that were edited after they were published, or are new."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from sum_assets.defs.asset_names import SUMMARIES, SUMMARY_TABLE
from sum_assets.defs.partitions import backfill_policy
from sum_assets.defs.range_events import newest_materialization
from sum_assets.id_range import IdRange

_S = dg.DagsterRunStatus
#: The statuses of runs that wait or work.
UNFINISHED = [_S.QUEUED, _S.NOT_STARTED, _S.STARTING, _S.STARTED, _S.CANCELING]


def runs_of_edited(
    instance: dg.DagsterInstance, ranges: Sequence[IdRange], edited: Mapping[IdRange, datetime]
) -> list[dg.RunRequest]:
    """Return a run for each group of edited ranges that follow upon each other among all ranges.

    A group holds as many as a run of a backfill does. Those that a run waits for or works on are left out. The run key
    tells the edit: what failed is not requested again before the next one.
    """
    groups = _grouped(instance, ranges, edited, lambda id_range: _latest_resources(instance, id_range.key))
    return [_request(group, resources, max(edited[r] for r in group).isoformat()) for group, resources in groups]


def runs_of_new(instance: dg.DagsterInstance, ranges: Sequence[IdRange]) -> list[dg.RunRequest] | None:
    """Return runs of ranges that were never published, as `runs_of_edited` does, with the resources of the latest run.

    None where nothing was summarized yet. What a run tried before and did not publish is left to a person.
    """
    resources = _latest_resources(instance)
    if resources is None:
        return None
    table = dg.AssetKey(SUMMARY_TABLE)
    storage = instance.event_log_storage
    tried = storage.get_latest_asset_partition_materialization_attempts_without_materializations(table)
    known = instance.get_materialized_partitions(table) | tried.keys()
    new = {id_range for id_range in ranges if id_range.key not in known}
    return [_request(group, found, "new") for group, found in _grouped(instance, ranges, new, lambda _: resources)]


def _grouped(
    instance: dg.DagsterInstance,
    ranges: Sequence[IdRange],
    wanted: Collection[IdRange],
    resources_of: Callable[[IdRange], dict[str, Any] | None],
) -> list[tuple[list[IdRange], dict[str, Any]]]:
    """Return the wanted ranges in groups, each with the resources of its run."""
    if not wanted:
        return []
    policy = backfill_policy()
    most = (policy and policy.max_partitions_per_run) or 1
    in_runs = list(_spans_in_runs(instance))
    groups: list[tuple[list[IdRange], dict[str, Any]]] = []
    before: IdRange | None = None
    for id_range in ranges:
        free = id_range in wanted and not any(first <= id_range.key <= last for first, last in in_runs)
        resources = resources_of(id_range) if free else None
        if resources is not None:
            group = groups[-1] if groups else None
            if group and group[0][-1] == before and group[1] == resources and len(group[0]) < most:
                group[0].append(id_range)
            else:
                groups.append(([id_range], resources))
        before = id_range
    return groups


def _request(group: Sequence[IdRange], resources: dict[str, Any], cause: str) -> dg.RunRequest:
    first, last = group[0].key, group[-1].key
    return dg.RunRequest(
        run_key=f"{first} {last} {cause}",
        run_config={"resources": resources},
        tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last},
    )


def _spans_in_runs(instance: dg.DagsterInstance) -> Iterator[tuple[str, str]]:
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        key = run.tags.get(PARTITION_NAME_TAG, "")
        first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, key)
        yield first, run.tags.get(ASSET_PARTITION_RANGE_END_TAG, key)


def _latest_resources(instance: dg.DagsterInstance, key: str | None = None) -> dict[str, Any] | None:
    """Return the resources of the latest run that summarized a range, or any: others would write another fingerprint.

    None where Dagster does not know that run any more.
    """
    newest = newest_materialization(instance, SUMMARIES, key)
    run = instance.get_run_by_id(newest.run_id) if newest else None
    if run is None:
        return None
    resources = run.run_config.get("resources")
    return dict(resources) if isinstance(resources, Mapping) else {}
