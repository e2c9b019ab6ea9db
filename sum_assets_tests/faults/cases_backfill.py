"""Cases of backfills on a real deployment, of which processes are killed and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import yaml
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from sum_assets.defs.asset_names import SUMMARY_TABLE
from sum_assets.defs.instance import open_instance, registered_ranges
from sum_assets.defs.partitions import RANGES_PER_RUN, id_ranges
from sum_assets_tests.faults.cases import UNCOMMITTED, Case, case, check, wait_until
from sum_assets_tests.faults.deployment import BOOT, Deployment
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, Tally


def _launch(deployment: Deployment, *keys: str) -> None:
    wait_until(deployment.answers, 90, "the webserver")
    path = deployment.folder / "backfill.yaml"
    path.write_text(yaml.safe_dump(LEAD))
    command = [sys.executable, "-m", "sum_assets.cli.main", "backfill", *keys, "-c", str(path), "--url", deployment.url]

    def launched() -> bool:
        result = subprocess.run(command, env=deployment.environment, capture_output=True, text=True)
        print(result.stderr, end="", file=sys.stderr)  # why a case fails
        return result.returncode == 0

    wait_until(launched, 90, "the launch of the backfill")


def _await_success(instance: dg.DagsterInstance) -> None:
    wait_until(lambda: _ended(instance), 300, "the end of the backfill")
    # Its own status may say "failed" all the same: Dagster looks at the materializations first and at the runs later.
    # Where the retry of a lost run ends in between, it takes that run's ranges for failed.
    keys = [r.key for r in registered_ranges(instance)]
    status = instance.get_status_by_partition(dg.AssetKey(SUMMARY_TABLE), keys, id_ranges)
    assert status is not None
    assert {status[key] for key in keys} == {AssetPartitionStatus.MATERIALIZED}, _story(instance)


@contextmanager
def _deployed(sandbox: Sandbox, ranges_per_run: int = 1) -> Iterator[tuple[Deployment, dg.DagsterInstance]]:
    deployment = Deployment(sandbox.folder, sandbox.environment | {RANGES_PER_RUN: str(ranges_per_run)})
    os.environ |= {name: deployment.environment[name] for name in sandbox.environment}
    try:
        with open_instance() as instance:
            yield deployment, instance
    finally:
        deployment.close()


def _kill(name: str) -> Case:
    def kill(sandbox: Sandbox, seed: int) -> Tally:
        with _deployed(sandbox) as (deployment, instance):
            _launch(deployment)
            wait_until(lambda: sandbox.rows() >= 4 + 10 * seed, 90, "the first rows")
            os.kill(deployment.processes[name].pid, signal.SIGKILL)
            deployment.processes[name].wait()
            time.sleep(2)
            deployment.start(name)
            _await_success(instance)
        return check(sandbox.tally(), UNCOMMITTED)

    return kill


def _crash(boot: str, run_status: dg.DagsterRunStatus, ranges_per_run: int = 1) -> Case:
    """Kill all processes at once, in mid-run or while a run starts, and start them again, as another boot."""

    def crash(sandbox: Sandbox, seed: int) -> Tally:
        with _deployed(sandbox, ranges_per_run) as (deployment, instance):
            _launch(deployment)
            wait_until(lambda: _has_run(instance, run_status), 90, f"a run that is {run_status}")
            if run_status == dg.DagsterRunStatus.STARTED:
                wait_until(lambda: sandbox.rows() >= 4 + 10 * seed, 240, "the first rows")
            deployment.crash()
            deployment.environment[BOOT] = boot
            time.sleep(2)
            assert _has_run(instance, run_status), _story(instance)
            began = time.monotonic()
            for name in deployment.commands:
                deployment.start(name)
            wait_until(lambda: not _has_run(instance, run_status), 150, "the end of the lost run")
            assert time.monotonic() - began < 120, "later than within two minutes"
            _await_success(instance)
        return check(sandbox.tally(), UNCOMMITTED)

    return crash


def _has_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> bool:
    """Return whether the first run of the backfill is in a status."""
    return any(run.status == status for run in instance.get_runs()[-1:])


@case("a killed `materialize` before a backfill")
def orphan(sandbox: Sandbox, seed: int) -> Tally:
    run = sandbox.start_held(1 + seed)
    run.signal(signal.SIGKILL)
    run.wait()
    with _deployed(sandbox) as (deployment, instance):
        assert _has_run(instance, dg.DagsterRunStatus.STARTED), _story(instance)
        _launch(deployment)
        _await_success(instance)
    return check(sandbox.tally(), UNCOMMITTED)


def _ended(instance: dg.DagsterInstance) -> bool:
    (backfill,) = instance.get_backfills(limit=1)
    return backfill.status != BulkActionStatus.REQUESTED


def _story(instance: dg.DagsterInstance) -> str:
    """Return how the backfill and each run ended, and why."""
    (backfill,) = instance.get_backfills(limit=1)
    lines = [f"{backfill.status} {backfill.error and backfill.error.to_string()[-3000:]}"]
    for run in instance.get_runs():
        lines.append(f"{run.run_id} {run.tags.get('dagster/partition')} {run.status} {run.tags}")
        for record in instance.all_logs(run.run_id):
            event = record.dagster_event
            if event and "FAIL" in event.event_type_value:
                lines.append(f"  {event.message} {event.event_specific_data}"[:1500])
    return "\n".join(lines)


for _name in ("webserver", "daemon", "code server"):
    case(f"{_name} killed during a backfill")(_kill(_name))
_STARTED = dg.DagsterRunStatus.STARTED
for _name, _boot, _status, _ranges in (
    ("all processes of the host killed during a backfill", "", _STARTED, 1),
    ("all processes of the host killed during a run of two ranges", "", _STARTED, 2),
    ("all processes of the host killed while a run starts", "", dg.DagsterRunStatus.STARTING, 1),
    ("the host crashed during a backfill, and was booted again", "another", _STARTED, 1),
):
    case(_name)(_crash(_boot, _status, _ranges))
