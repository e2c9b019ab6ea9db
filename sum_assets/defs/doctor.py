"""Looks at Dagster: its home, its daemon, its pool, and the port of the UI; and reads a run configuration."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from sum_assets.database.connection import connect
from sum_assets.database.statements import statement
from sum_assets.defs.backfill import require_own_webserver
from sum_assets.defs.dagster_schema import SCHEMA
from sum_assets.defs.instance import POOL, open_instance, valid_job
from sum_assets.defs.ownership import code_url, owners
from sum_assets.defs.partitions import backfill_policy
from sum_assets.defs.resources import default_summarizer
from sum_assets.defs.storage import SumAssetsStorage
from sum_assets.doctor.finding import Finding, Level
from sum_assets.doctor.port import require_free
from sum_assets.errors import UserError
from sum_assets.paths import dagster_dir, home, in_demo, project_file
from sum_assets.summarizer import GpuSettings, SummarizerSettings
from sum_assets.summarizer.device_lease import device_slots
from sum_assets.units import counted

_UI = "`sum-assets ui`"
#: What our dagster.yaml sets so that runs are neither lost nor stuck. Its comments say why.
_ADVISED = (
    "storage.custom.class",
    "concurrency.pools.granularity",
    "run_queue.max_user_code_failure_retries",
    "run_monitoring.enabled",
    "run_monitoring.free_slots_after_run_end_seconds",
    "run_retries.enabled",
    "run_retries.max_retries",
    "run_retries.retry_on_asset_or_op_failure",
)


def settings_of(run_config: Mapping[str, Any]) -> tuple[GpuSettings, SummarizerSettings]:
    """Return the settings that a run with this configuration takes. Raises UserError where it does not fit the job."""
    if run_config:  # validating imports all definitions
        valid_job(run_config)
    resources = run_config.get("resources", {})
    gpu, summarizer = (resources.get(name, {}).get("config", {}) for name in ("gpu", "summarizer"))
    return (
        GpuSettings.model_validate(gpu),
        SummarizerSettings.model_validate(default_summarizer().model_dump() | summarizer),
    )


def look_at_environment() -> Iterator[Finding]:
    """Report variables whose values the UI and its runs refuse."""
    for check in (backfill_policy, device_slots, owners, code_url):
        yield from _failing(check)


def _failing(check: Callable[[], object]) -> Iterator[Finding]:
    try:
        check()
    except UserError as error:
        yield _finding("failure", "variables", str(error))


def look_at_home() -> Iterator[Finding]:
    """Report whether the homes can be written, and how a `DAGSTER_HOME` of the user's own differs from ours."""
    ours = home()
    nearest = next(folder for folder in (ours, *ours.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        yield _finding(
            "failure",
            "home",
            f"This user may not write to {ours}. Set SUM_ASSETS_HOME to a folder that this user may write.",
        )
    named = _named_home()
    if named is None:
        yield _finding("ok", "home", f"{dagster_dir(ours)}, with the dagster.yaml of sum_assets")
    else:
        yield _look_at_named(named)


def _named_home() -> Path | None:
    """Return the folder of `DAGSTER_HOME`, whose dagster.yaml nobody writes anew; None where it is ours to make."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named) if named and not in_demo() else None


def _look_at_named(folder: Path) -> Finding:
    shipped = project_file("dagster.yaml")
    instead = f"Copy that of sum_assets there, {shipped}, or unset DAGSTER_HOME."
    path = folder / "dagster.yaml"
    if not folder.is_dir():
        return _finding(
            "failure", "home", f"DAGSTER_HOME is {folder}, which is not a folder. Make it, or unset DAGSTER_HOME."
        )
    if not path.is_file():
        says = f"DAGSTER_HOME is {folder}, which has no dagster.yaml: lost runs are neither noticed nor started again"
        return _finding("warning", "home", f"{says}. {instead}")
    try:
        theirs = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return _finding("failure", "home", f"{path} cannot be read: {error}. {instead}")
    advised = _read(shipped)
    others = [
        f"{place} is {_shown(_at(theirs, place))}, not {_shown(_at(advised, place))}"
        for place in _ADVISED
        if _at(theirs, place) != _at(advised, place)
    ]
    if others:
        says = f"{path} differs from what sum_assets advises: {'; '.join(others)}"
        return _finding("warning", "home", f"{says}. The comments in {shipped} say why. Or unset DAGSTER_HOME.")
    return _finding("ok", "home", f"{folder}, set as sum_assets advises")


def _read(path: Path) -> Any:
    """Return what a YAML file holds, or None where it cannot be read, of which the finding on the home says why."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _at(content: Any, place: str) -> Any:
    for key in place.split("."):
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _shown(value: Any) -> str:
    return "unset" if value is None else yaml.safe_dump(value).removesuffix("...\n").strip()


def look_at_instance() -> Iterator[Finding]:
    """Report the daemon and the pool of devices. Raises UserError where Dagster's storage does not answer."""
    settings = _settings()
    if settings is None:  # Dagster would make files of its own there
        return
    if _lacks_tables(settings):
        yield _finding("warning", "storage", "Dagster has no tables in the database yet. `sum-assets init` makes them.")
        return
    with open_instance() as instance:
        yield _finding("ok", "storage", type(instance.run_storage).__name__)
        yield _daemon(instance)
        yield _pool(instance)


def _settings() -> Any:
    """Return what the dagster.yaml in use holds; None where it cannot be read."""
    named = _named_home()
    return _read(named / "dagster.yaml" if named else project_file("dagster.yaml"))


def _lacks_tables(settings: Any) -> bool:
    """Return whether whoever opens the instance makes its tables: a doctor makes none."""
    if _at(settings, "storage.custom.class") != SumAssetsStorage.__name__:
        return False
    with connect() as connection:
        row = connection.execute(statement("dagster_schema_state"), {"schema": SCHEMA}).fetchone()
    return not (row and row[1])


def _daemon(instance: dg.DagsterInstance) -> Finding:
    statuses = instance.get_daemon_statuses().values()
    dead = sorted(status.daemon_type.lower() for status in statuses if status.required and not status.healthy)
    if len(dead) == len(statuses):
        return _finding("warning", "daemon", f"It does not run, and queued runs and backfills wait. Start it: {_UI}.")
    if dead:
        return _finding(
            "warning", "daemon", f"Parts of it do not run: {', '.join(dead)}. Look into its log, and restart {_UI}."
        )
    return _finding("ok", "daemon", f"runs: {', '.join(sorted(s.daemon_type.lower() for s in statuses))}")


def _pool(instance: dg.DagsterInstance) -> Finding:
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    slots = device_slots()
    runs = limits.get(POOL, 0)
    says = f"{counted(runs, 'run')} may use the devices at a time"
    if runs < slots:
        return _finding(
            "warning",
            "pool",
            f"{says}, and {slots} could. {_UI} sets it, or `dagster instance concurrency set {POOL} {slots}`.",
        )
    return _finding("ok", "pool", says)


def look_at_port(host: str, port: int) -> Iterator[Finding]:
    """Report whether the UI can listen, or does so already. Raises UserError where somebody else does."""
    url = f"http://{host}:{port}"
    try:
        require_free(host, port)
    except UserError as taken:
        try:
            if _lacks_tables(_settings()):  # then no UI of this database runs
                raise taken
            with open_instance() as instance:
                require_own_webserver(instance, url, seconds=3)
        except Exception as error:  # whatever keeps us from asking it
            raise taken from error
        yield _finding("ok", "port", f"the UI of this database is on {url}")
    else:
        yield _finding("ok", "port", f"{port} of {host} is free for the UI")


def _finding(level: Level, subject: str, message: str) -> Finding:
    return Finding("dagster", level, subject, message)
