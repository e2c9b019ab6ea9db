"""Looks at Dagster: its home, its daemon, its pool, and the port of the UI; and reads a run configuration."""

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
from sum_assets.defs.partitions import backfill_policy
from sum_assets.defs.resources import default_summarizer
from sum_assets.doctor.finding import Finding, Level
from sum_assets.doctor.port import require_free
from sum_assets.errors import UserError
from sum_assets.paths import dagster_dir, dagster_is_here, home, own_dagster_home, project_file
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
    for check in (backfill_policy, device_slots):
        yield from _failing(check)


def _failing(check: Callable[[], object]) -> Iterator[Finding]:
    try:
        check()
    except UserError as error:
        yield _finding("failure", "variables", str(error))


def look_at_home() -> Iterator[Finding]:
    """Compare the dagster.yaml of a `DAGSTER_HOME` of the user's own with the one that sum_assets advises."""
    own = own_dagster_home()
    if own is None:
        yield _finding("ok", "home", f"{dagster_dir(home())}, with the dagster.yaml of sum_assets")
        return
    path = Path(own) / "dagster.yaml"
    try:
        theirs = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield _finding(
            "failure" if path.exists() or not Path(own).is_dir() else "warning",
            "home",
            f"DAGSTER_HOME is {own}, whose dagster.yaml cannot be read: {error}. Copy that of sum_assets there, "
            f"{project_file('dagster.yaml')}, or unset DAGSTER_HOME.",
        )
        return
    ours = yaml.safe_load(project_file("dagster.yaml").read_text(encoding="utf-8"))
    others = [
        f"{place} is {_shown(_at(theirs, place))}, not {_shown(_at(ours, place))}"
        for place in _ADVISED
        if _at(theirs, place) != _at(ours, place)
    ]
    if others:
        yield _finding(
            "warning",
            "home",
            f"{path} differs from what sum_assets advises: {'; '.join(others)}. The comments in "
            f"{project_file('dagster.yaml')} say why. Or unset DAGSTER_HOME.",
        )
    else:
        yield _finding("ok", "home", f"{own}, set as sum_assets advises")


def _at(content: Any, place: str) -> Any:
    for key in place.split("."):
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _shown(value: Any) -> str:
    return "unset" if value is None else yaml.safe_dump(value).removesuffix("...\n").strip()


def look_at_instance() -> Iterator[Finding]:
    """Report the daemon and the pool of devices. Raises UserError where Dagster's storage does not answer."""
    if dagster_is_here() and not _has_tables():
        yield _finding("warning", "storage", "Dagster has no tables in the database yet. `sum-assets init` makes them.")
        return
    with open_instance() as instance:
        yield _finding("ok", "storage", type(instance.run_storage).__name__)
        yield _daemon(instance)
        yield _pool(instance)


def _has_tables() -> bool:
    with connect() as connection:
        row = connection.execute(statement("dagster_schema_state"), {"schema": SCHEMA}).fetchone()
    return bool(row and row[1])


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
            with open_instance() as instance:
                require_own_webserver(instance, url, seconds=3)
        except Exception as error:  # whatever keeps us from asking it
            raise taken from error
        yield _finding("ok", "port", f"the UI of this database is on {url}")
    else:
        yield _finding("ok", "port", f"{port} of {host} is free for the UI")


def _finding(level: Level, subject: str, message: str) -> Finding:
    return Finding("dagster", level, subject, message)
