"""The partitions by ID range, and what every asset over them needs."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from sum_assets.defs.failures import failing_clearly
from sum_assets.id_range import IdRange

id_ranges = dg.DynamicPartitionsDefinition(name="id_range")


@contextmanager
def ranges_of(context: dg.AssetExecutionContext) -> Iterator[list[IdRange]]:
    """Yield the ID ranges of a run of one partition or many; a UserError fails the step in its own words."""
    with failing_clearly(context):
        yield [IdRange.from_key(key) for key in context.partition_keys]


def joint_data_version(parts: Sequence[str]) -> dg.DataVersion:
    """Return one data version for all partitions of a run: Dagster takes no other."""
    version = parts[0] if len(parts) == 1 else hashlib.sha256("-".join(parts).encode()).hexdigest()
    return dg.DataVersion(version)
