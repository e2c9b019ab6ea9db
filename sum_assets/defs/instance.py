"""Opens the Dagster instance of the home in use, and runs the job on it."""

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from dagster_postgres.utils import DagsterPostgresException
from psycopg import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from sum_assets.database.range_registry import begun_ranges, parse_keys, to_forget
from sum_assets.database.reconnect import open_database
from sum_assets.database.run_process import recorded_process
from sum_assets.database.schema import require_schema
from sum_assets.defs.asset_names import CORPUS_ASSETS, SUMMARIZE
from sum_assets.defs.failures import check_keys
from sum_assets.defs.lost_runs import end_lost_runs
from sum_assets.defs.partitions import id_ranges, require_ascending
from sum_assets.defs.resources import PostgresResource
from sum_assets.defs.run_failures import STOPPED
from sum_assets.defs.storage import SortedPartitionsStorage
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.paths import dagster_dir, home, in_demo, project_file

_NAME = id_ranges.name or ""
#: The pool of all assets that use the device.
POOL = "gpu"
#: The SQLSTATEs of a missing right and of a server or role that is read-only.
_MAY_NOT_WRITE = ("42501", "25006")


def prepare_home() -> None:
    """Set `DAGSTER_HOME`, unless the user has, to a folder that holds our dagster.yaml.

    The demo's is its own, whatever the environment says.
    """
    if os.environ.get("DAGSTER_HOME") and not in_demo():
        return
    folder = dagster_dir(home())
    folder.mkdir(parents=True, exist_ok=True)
    _install(project_file("dagster.yaml"), folder / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(folder)


def _install(source: Path, target: Path) -> None:
    """Copy a file in one step: a process that begins at the same time, on any host, never reads half of it."""
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as new:
        new.write(content)
    os.chmod(new.name, 0o644)
    os.replace(new.name, target)


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance. Raises UserError where its database is out of reach."""
    prepare_home()
    try:
        instance = dg.DagsterInstance.get()
    except dg.DagsterInvariantViolationError as error:
        raise UserError(str(error)) from error
    with instance:
        # Dagster gives a pool its default limit when it first sees a run of it queued, and has by then launched two.
        storage = instance.event_log_storage
        try:
            if POOL not in {pool.name for pool in storage.get_pool_limits()}:
                storage.initialize_concurrency_limit_to_default(POOL)
        except DBAPIError as error:  # a reader or a standby launches no runs
            if getattr(error.orig, "pgcode", None) not in _MAY_NOT_WRITE:
                raise
        yield instance


def await_database(run_config: Mapping[str, Any]) -> None:
    """Wait for a database that is away, for as long as the run would later, and say so on standard error.

    Raises UnreachableError in the end, UserError at once where the embedded server was not started.
    """
    seconds: Any = run_config
    for key in ("resources", "postgres", "config", "wait_seconds"):
        seconds = seconds.get(key) if isinstance(seconds, Mapping) else None
    if not isinstance(seconds, int | float):
        seconds = PostgresResource().wait_seconds
    with open_database(wait_seconds=seconds) as database:
        database.run(lambda connection: None)


def set_pool(instance: dg.DagsterInstance, runs: int) -> None:
    """Let so many runs use the devices at once."""
    instance.event_log_storage.set_concurrency_slots(POOL, runs)


def registered_ranges(instance: dg.DagsterInstance) -> list[IdRange]:
    """Return the ID ranges, in order. Keys that are not valid are left out; `verify` and `status` name them."""
    return parse_keys(registered_keys(instance))[0]


def registered_keys(instance: dg.DagsterInstance) -> Sequence[str]:
    """Return the partition keys of ID ranges, those that are not valid among them."""
    return instance.get_dynamic_partitions(_NAME)


def register_ranges(instance: dg.DagsterInstance, ranges: Sequence[IdRange]) -> None:
    """Add ID ranges as partitions. Raises UserError where one overlaps another."""
    instance.add_dynamic_partitions(_NAME, [r.key for r in ranges])


def forget_keys(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Delete partitions; what was made of their abstracts stays."""
    storage = instance.event_log_storage
    if isinstance(storage, SortedPartitionsStorage):
        storage.delete_id_ranges(list(keys))
        return
    for key in keys:  # the storage of a user's own DAGSTER_HOME
        instance.delete_dynamic_partition(_NAME, key)


def repair_ranges(instance: dg.DagsterInstance, connection: Connection) -> list[str]:
    """Forget partition keys that are not ID ranges, and ranges that overlap others. Return what was forgotten."""
    ranges, invalid = parse_keys(registered_keys(instance))
    forgotten = [*(r.key for r in to_forget(ranges, begun_ranges(connection))), *invalid]
    forget_keys(instance, forgotten)
    return forgotten


def require_span(instance: dg.DagsterInstance, first: str, last: str) -> tuple[IdRange, IdRange]:
    """Return the ranges that two keys name, as `require_registered`. Raises UserError where the first is above."""
    ends = require_registered(instance, first), require_registered(instance, last)
    require_ascending(first, last)
    return ends


def require_registered(instance: dg.DagsterInstance, key: str) -> IdRange:
    """Return the range that a key names. Raises UserError where the key is not valid or not registered."""
    id_range = IdRange.from_key(key)
    if not instance.has_dynamic_partition(_NAME, key):
        raise UserError(f"The ID range {key} is not registered. `sum-assets ranges` lists those that are.")
    return id_range


def valid_job(run_config: Mapping[str, Any]) -> dg.JobDefinition:
    """Return `summarize_corpus`. Raises UserError where a configuration does not fit it, before anything is started."""
    from sum_assets.defs.definitions import defs  # definitions import this module's siblings, not the reverse

    job = defs.resolve_job_def(SUMMARIZE)
    check_keys(run_config)
    try:
        dg.validate_run_config(job, dict(run_config))
    except dg.DagsterInvalidConfigError as error:
        if not error.errors:
            raise UserError(error.message) from error
        reasons = "\n".join(f"  {e.message}" for e in error.errors)
        raise UserError(f"The run configuration does not fit the job. Correct it:\n{reasons}") from error
    return job


def materialize(
    instance: dg.DagsterInstance,
    first: str,
    last: str | None,
    run_config: Mapping[str, Any],
    select: Sequence[str] = (),
    log_level: str = "INFO",
    run_id: str | None = None,
) -> dg.ExecuteInProcessResult:
    """Run `summarize_corpus` for one partition, or in one run for all from `first` to `last`.

    `select` names the assets to materialize; none means all. `run_id` is that of a lease that the caller holds.
    Raises UserError where names or configuration do not fit the job.
    """
    job = valid_job(run_config)
    run_config = {"loggers": {"console": {"config": {"log_level": log_level}}}, **run_config}
    for name in select:
        if name not in CORPUS_ASSETS:
            raise UserError(f"The job {SUMMARIZE} has no asset {name!r}. It has: {', '.join(CORPUS_ASSETS)}.")
    span = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last} if last else None
    run_id = run_id or str(uuid.uuid4())
    try:
        with recorded_run(instance, run_id):
            return job.execute_in_process(
                run_config,
                instance=instance,
                partition_key=None if last else first,
                tags=span,
                asset_selection=[dg.AssetKey(name) for name in select] or None,
                raise_on_error=False,
                run_id=run_id,
            )
    except (DagsterExecutionInterruptedError, KeyboardInterrupt) as error:
        raise UserError(STOPPED) from error
    except (DagsterPostgresException, OperationalError) as error:
        raise UserError(
            "The database went away while Dagster wrote its log. What the run finished is committed. Run it again to "
            "go on."
        ) from error


@contextmanager
def recorded_run(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Record this process as that of a run, after the end of those whose process is gone."""
    with open_database(wait_seconds=60) as database:
        database.run(require_schema)
        database.run(partial(end_lost_runs, instance))
        with recorded_process(database, run_id):
            database.close()  # the heartbeat has its own
            yield
