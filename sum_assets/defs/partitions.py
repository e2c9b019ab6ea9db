"""The partitions: ID ranges, with what every asset over them needs, and presets."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from sum_assets.database.range_registry import overlaps, parse_keys
from sum_assets.defs.failures import failing_clearly
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

#: The environment variable that says how many ID ranges a run of a backfill takes.
RANGES_PER_RUN = "SUM_ASSETS_RANGES_PER_RUN"
id_ranges = dg.DynamicPartitionsDefinition(name="id_range")
#: The presets of the registered sweep.
presets = dg.DynamicPartitionsDefinition(name="preset")


@contextmanager
def ranges_of(context: dg.AssetExecutionContext) -> Iterator[list[IdRange]]:
    """Yield the ID ranges of a run of one partition or many; a UserError fails the step in its own words."""
    with failing_clearly(context):
        if not (context.selected_asset_keys or context.has_partition_key or context.has_partition_key_range):
            yield _materialized(context)
            return
        keys = context.partition_keys
        _check_order(context, keys)
        ranges = [IdRange.from_key(key) for key in keys]
        _check_apart(context, ranges)
        yield ranges


def _materialized(context: dg.AssetExecutionContext) -> list[IdRange]:
    """Return all ranges there are of the assets that a run checks: the UI's *Execute all* names no partition."""
    registered, _ = parse_keys(context.instance.get_dynamic_partitions(id_ranges.name or ""))
    assets = {check.asset_key for check in context.selected_asset_check_keys}
    made = set[str]().union(*(context.instance.get_materialized_partitions(asset) for asset in assets))
    return [id_range for id_range in registered if id_range.key in made]


def _check_order(context: dg.AssetExecutionContext, keys: Sequence[str]) -> None:
    """Raise UserError where Dagster took other ranges than those from the first ID to the last.

    Our own storage returns ranges in the order of their IDs. A user's `DAGSTER_HOME` may name another, which returns
    them as they were registered.
    """
    first, last = context.partition_key_range
    if first == last:
        return
    require_ascending(first, last)
    registered = context.instance.get_dynamic_partitions(id_ranges.name or "")
    if list(keys) != sorted(key for key in registered if first <= key <= last):
        raise UserError(
            f"The ID ranges from {first} to {last} were not registered in the order of their IDs, so that Dagster "
            "would take others. Launch one run for each range: `sum-assets backfill FIRST LAST`."
        )


def _check_apart(context: dg.AssetExecutionContext, ranges: Sequence[IdRange]) -> None:
    """Raise UserError where one of the ranges overlaps another, which our own storage does not let anybody add."""
    registered, _ = parse_keys(context.instance.get_dynamic_partitions(id_ranges.name or ""))
    for lower, upper in overlaps(registered):
        if lower in ranges or upper in ranges:
            raise UserError(
                f"The ID ranges {lower.key} and {upper.key} overlap, and an abstract belongs to one range. Forget "
                "what is too much: `sum-assets ranges --repair`. Results stay."
            )


def no_abstracts(id_range: IdRange) -> str:
    """Return the warning for a range whose rows all vanished, or that never had one."""
    return (
        f"The range {id_range.key} has no abstracts in the source. There is nothing to summarize; what was published "
        "of it is withdrawn when it is published."
    )


def require_ascending(first: str, last: str) -> None:
    """Raise UserError where the first of two keys is above the last. Keys sort as the ID ranges do."""
    if first > last:
        raise UserError(f"The first ID range, {first}, is above the last, {last}. Name the lower one first.")


def backfill_policy() -> dg.BackfillPolicy | None:
    """Return how many ID ranges a run of a backfill takes: `SUM_ASSETS_RANGES_PER_RUN`, or one.

    Raises UserError where that is not a positive number.
    """
    text = os.environ.get(RANGES_PER_RUN, "1")
    if not text.isdecimal() or not int(text):
        raise UserError(f"{RANGES_PER_RUN} is {text!r}. Set it to a number of ID ranges, 1 or more.")
    return dg.BackfillPolicy.multi_run(int(text)) if int(text) > 1 else None
