"""Cases of backfills on a real deployment, of which one process is killed and started again."""

import os
import signal
import subprocess
import sys
import time

import dagster as dg
import yaml
from dagster._core.execution.backfill import BulkActionStatus

from sum_assets.defs.instance import open_instance
from sum_assets_tests.faults.cases import UNCOMMITTED, Case, case, check, wait_until
from sum_assets_tests.faults.deployment import Deployment
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, Tally


def _kill(name: str) -> Case:
    def kill(sandbox: Sandbox, seed: int) -> Tally:
        deployment = Deployment(sandbox.folder, sandbox.environment)
        try:
            wait_until(deployment.answers, 90, "the webserver")
            path = sandbox.folder / "backfill.yaml"
            path.write_text(yaml.safe_dump(LEAD))
            command = [
                sys.executable,
                "-m",
                "sum_assets.cli.main",
                "backfill",
                "-c",
                str(path),
                "--url",
                deployment.url,
            ]
            wait_until(
                lambda: subprocess.run(command, env=deployment.environment, capture_output=True).returncode == 0,
                90,
                "the launch of the backfill",
            )
            wait_until(lambda: sandbox.rows() >= 4 + 10 * seed, 90, "the first rows")
            os.kill(deployment.processes[name].pid, signal.SIGKILL)
            deployment.processes[name].wait()
            time.sleep(2)
            deployment.start(name)
            os.environ |= {name: deployment.environment[name] for name in sandbox.environment}
            with open_instance() as instance:
                wait_until(lambda: _ended(instance), 300, "the end of the backfill")
                (backfill,) = instance.get_backfills(limit=1)
                assert backfill.status == BulkActionStatus.COMPLETED_SUCCESS, _story(instance)
        finally:
            deployment.close()
        return check(sandbox.tally(), UNCOMMITTED)

    return kill


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
