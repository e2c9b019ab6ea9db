"""Backfills on a real webserver, daemon and code server, of which one is killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
import yaml
from dagster._core.execution.backfill import BulkActionStatus

from sum_assets.defs.instance import open_instance
from sum_assets_tests.faults.arena import BATCH, LEAD, Arena, Tally
from sum_assets_tests.faults.cases import Case, case, check, wait_until


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Deployment:
    """The three processes, as a supervisor would run them: each started again when it ends."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._log = (folder / "deployment.log").open("ab")
        home = folder / "dagster"
        home.mkdir(exist_ok=True)
        # Notices in seconds what it notices in minutes elsewhere.
        settings = yaml.safe_load(Path("dagster.yaml").read_text())
        settings["run_monitoring"]["poll_interval_seconds"] = 5
        settings["run_queue"]["user_code_failure_retry_delay"] = 2
        settings["run_queue"]["dequeue_interval_seconds"] = 1
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        self.environment = os.environ | environment | {"DAGSTER_HOME": str(home), "PYTHONPATH": os.getcwd()}
        code, port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        workspace = folder / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": code, "location_name": "sum_assets"}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        own = "sum_assets_tests.faults.slow_definitions"
        commands = {
            "code server": f"dagster api grpc -m {own} -p {code}",
            "webserver": f"dagster_webserver -w {workspace} -p {port}",
            "daemon": f"sum_assets_tests.faults.quick_daemon run -w {workspace}",
        }
        self.commands = {name: [sys.executable, "-m", *command.split()] for name, command in commands.items()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in self.commands:
            self.start(name)

    def start(self, name: str) -> None:
        """Start one."""
        self.processes[name] = subprocess.Popen(
            self.commands[name], env=self.environment, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def answers(self) -> bool:
        """Whether the webserver does."""
        with suppress(OSError), urlopen(f"{self.url}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def close(self) -> None:
        """End them, and what they started."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._log.close()


def _kill(name: str) -> Case:
    def kill(arena: Arena, seed: int) -> Tally:
        deployment = Deployment(arena.folder, arena.environment)
        try:
            wait_until(deployment.answers, 90, "the webserver")
            path = arena.folder / "backfill.yaml"
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
            wait_until(lambda: arena.rows() >= 4 + 10 * seed, 90, "the first rows")
            os.kill(deployment.processes[name].pid, signal.SIGKILL)
            deployment.processes[name].wait()
            time.sleep(2)
            deployment.start(name)
            os.environ |= {name: deployment.environment[name] for name in arena.environment}
            with open_instance() as instance:
                wait_until(lambda: _ended(instance), 300, "the end of the backfill")
                (backfill,) = instance.get_backfills(limit=1)
                assert backfill.status == BulkActionStatus.COMPLETED_SUCCESS, _story(instance)
        finally:
            deployment.close()
        return check(arena.tally(), BATCH)

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
