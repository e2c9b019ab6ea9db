"""Finds the registered ID ranges without loading Dagster, which takes longer than to answer from them."""

from collections.abc import Sequence

from psycopg import Connection

from sum_assets.database.range_registry import stored_keys
from sum_assets.paths import dagster_is_here


def partition_keys(connection: Connection) -> Sequence[str]:
    """Return the partition keys of ID ranges, those that are not valid among them."""
    if dagster_is_here():
        keys = stored_keys(connection)
        if keys is not None:
            return keys
    from sum_assets.defs.instance import open_instance, registered_keys

    with open_instance() as instance:  # another storage, or one that cannot be read, which it explains
        return registered_keys(instance)
