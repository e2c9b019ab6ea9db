"""Finds the registered ID ranges without loading Dagster, which takes longer than to answer from them."""

import os
from collections.abc import Sequence

from psycopg import Connection

from sum_assets.database.range_registry import stored_keys
from sum_assets.paths import dagster_dir, home, in_demo


def partition_keys(connection: Connection) -> Sequence[str]:
    """Return the partition keys of ID ranges, those that are not valid among them."""
    if dagster_is_here():
        keys = stored_keys(connection)
        if keys is not None:
            return keys
    from sum_assets.defs.instance import open_instance, registered_keys

    with open_instance() as instance:  # another storage, or one that cannot be read, which it explains
        return registered_keys(instance)


def dagster_is_here() -> bool:
    """Return whether Dagster keeps its tables in the database of the corpus: not in a storage of the user's own."""
    own_home = os.environ.get("DAGSTER_HOME")
    return in_demo() or own_home in (None, "", str(dagster_dir(home())))
