"""A Dagster deployment of a webserver, a daemon and a code server, for backfills."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import yaml

#: Names the boot that the code server and its runs take themselves to be in.
BOOT = "SUM_ASSETS_TESTS_BOOT"


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def answers(url: str) -> bool:
    """Return whether a webserver answers."""
    with suppress(OSError), urlopen(f"{url}/server_info", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


class Deployment:
    """The three processes, in `processes` by name. Each can be killed and started again, as a supervisor would."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._log = (folder / "deployment.log").open("ab")
        dagster_home = folder / "dagster"
        dagster_home.mkdir(exist_ok=True)
        # It notices in seconds what takes minutes in production.
        settings = yaml.safe_load(Path("dagster.yaml").read_text())
        settings["run_monitoring"]["poll_interval_seconds"] = 5
        settings["run_queue"]["user_code_failure_retry_delay"] = 2
        settings["run_queue"]["dequeue_interval_seconds"] = 1
        (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        self.environment = os.environ | environment | {"DAGSTER_HOME": str(dagster_home), "PYTHONPATH": os.getcwd()}
        code, port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        workspace = folder / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": code, "location_name": "sum_assets"}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        definitions = "sum_assets_tests.faults.slow_definitions"
        commands = {
            "code server": f"dagster api grpc -m {definitions} -p {code}",
            "webserver": f"dagster_webserver -w {workspace} -p {port}",
            "daemon": f"sum_assets_tests.faults.quick_daemon run -w {workspace}",
        }
        self.commands = {name: [sys.executable, "-m", *command.split()] for name, command in commands.items()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in self.commands:
            self.start(name)

    def start(self, name: str) -> None:
        """Start one of the processes."""
        self.processes[name] = subprocess.Popen(
            self.commands[name], env=self.environment, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def answers(self) -> bool:
        """Return whether the webserver answers."""
        return answers(self.url)

    def close(self) -> None:
        """End the processes and what they started."""
        self.crash()
        self._log.close()

    def crash(self) -> None:
        """Kill the processes and what they started, all at once."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
