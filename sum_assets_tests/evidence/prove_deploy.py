"""A backfill through what `deploy/` ships, on this machine, with two GPUs that are not there: `make prove-deploy`.

In mid-run one run is terminated, and the host of the other is lost. Every row is held against those of a quiet run.
Then all that was written, Ray's own files and list of jobs among it, is searched for the database's password.
"""

import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import dagster as dg
import psutil
import psycopg
import yaml
from psycopg import conninfo

from sum_assets.defs.backfill import launch_backfill
from sum_assets.defs.instance import open_instance, set_pool
from sum_assets.errors import UserError
from sum_assets.paths import project_file
from sum_assets_tests.faults.cases import wait_until
from sum_assets_tests.faults.deployment import free_port
from sum_assets_tests.faults.sandbox import Sandbox, open_sandbox
from sum_assets_tests.faults.server import FIRST, SECOND, Server
from sum_assets_tests.leaks import command_lines, files_with, found_in, tables_with

DEPLOY = project_file("deploy")
CONFIG = {"resources": {"gpu": {"config": {"engine": "lead", "batch_size": 1}}}}
LOG = Path("out/prove-deploy.log")
#: The server asks for none, and everybody sends it.
SECRET = "Tr0ub4dor-of-the-database"


class Site:
    """The units' own command lines and files, with folders and ports of their own."""

    def __init__(self, opened: Sandbox, temporary: str) -> None:
        self._here = {
            "/opt/sum_assets/.venv/bin/dagster-daemon": f"{sys.executable} -m sum_assets_tests.faults.quick_daemon",
            "/opt/sum_assets/.venv/bin": str(Path(sys.executable).parent),
            "/opt/sum_assets/deploy": str(opened.folder),
            "sum_assets.defs.definitions": "sum_assets_tests.faults.slow_definitions",
            "${HEAD_HOST}": "127.0.0.1",
        } | {port: str(free_port()) for port in ("6379", "8265", "4000", "3000")}
        self.url, self.dashboard = self._local("http://127.0.0.1:3000"), self._local("http://127.0.0.1:8265")
        (opened.folder / "workspace.yaml").write_text(self._local((DEPLOY / "workspace.yaml").read_text()))
        launcher = self._local((DEPLOY / "run_launcher.yaml").read_text())
        settings = yaml.safe_load(project_file("dagster.yaml").read_text() + launcher)
        # Notices in seconds what it notices in minutes elsewhere.
        settings["run_monitoring"]["poll_interval_seconds"] = 5
        settings["run_queue"] |= {"user_code_failure_retry_delay": 2, "dequeue_interval_seconds": 1}
        (opened.folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
        os.environ |= dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "sum_assets.env").read_text(), re.MULTILINE))
        opened.through = conninfo.make_conninfo(opened.url, password=SECRET)
        os.environ |= opened.environment | {"DAGSTER_HOME": str(opened.folder), "PYTHONPATH": os.getcwd()}
        os.environ |= {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": temporary, "HF_HOME": temporary}
        # What differs since all hosts are one, without a GPU.
        agent = "--dashboard-agent-listen-port"
        head = f"--dashboard-port {self._here['8265']} --ray-client-server-port {free_port()} {agent} {free_port()}"
        self._more = {"ray-head": head, "ray-gpu": f"--num-gpus 2 {agent} {free_port()}"}
        self.units: dict[str, psutil.Popen] = {}
        self.temporary = Path(temporary)

    def _local(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text

    def start(self, name: str) -> None:
        """Start a unit."""
        (line,) = re.findall("^ExecStart=(.*)$", (DEPLOY / f"sum-assets-{name}.service").read_text(), re.MULTILINE)
        command = shlex.split(self._local(line) + " " + self._more.get(name, ""))
        with LOG.open("ab") as log:
            self.units[name] = psutil.Popen(command, stdout=log, stderr=log)

    def lose(self, name: str) -> None:
        """End a unit as a power cut does, with all that it started."""
        unit = self.units.pop(name)
        for process in [*(unit.children(recursive=True) if unit.poll() is None else []), unit]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        unit.wait()


def prove(opened: Sandbox, site: Site, instance: dg.DagsterInstance) -> str:
    """Return how it went; an AssertionError says what did not."""

    def backfill(*keys: str) -> bool:
        with suppress(UserError):  # the webserver, or the code server, is not there yet
            return bool(launch_backfill(site.url, keys, CONFIG))
        return False

    def begun() -> bool:
        return bool(opened.sql("SELECT min(abstract_id) <= 48 AND max(abstract_id) > 48 FROM audit")[0][0])

    def statuses(key: str) -> list[str]:
        return [run.status.value for run in instance.get_runs(dg.RunsFilter(tags={"dagster/partition": key}))][::-1]

    wait_until(lambda: backfill(FIRST.key, SECOND.key), 90, "the launch of the backfill")
    wait_until(begun, 120, "rows of both ranges")
    (terminated,) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": FIRST.key}))
    assert instance.run_launcher.terminate(terminated.run_id)
    wait_until(lambda: statuses(FIRST.key) == ["CANCELED"], 60, "the end of the terminated run")
    assert "Stopped by SIGTERM, with " in str(instance.all_logs(terminated.run_id)), "it did not finish its batch"
    assert statuses(SECOND.key) == ["STARTED"]
    assert not any(found_in(line, SECRET) for line in command_lines())
    site.lose("ray-gpu")
    site.start("ray-gpu")
    wait_until(lambda: statuses(SECOND.key) == ["FAILURE", "SUCCESS"], 120, "the repetition of the lost run")
    assert backfill(FIRST.key)
    wait_until(lambda: statuses(FIRST.key) == ["CANCELED", "SUCCESS"], 90, "the rest of the terminated one")
    tally = opened.tally(CONFIG)
    assert (tally.lost, tally.twice) == (0, 0), tally
    assert tally.generated_again <= 1, "more than the lost run's batch in flight"
    require_nowhere(opened, site)
    return f"{tally}; the password is nowhere"


def require_nowhere(opened: Sandbox, site: Site) -> None:
    """Raise AssertionError where the database's password was written."""
    ray = Path(sys.executable).with_name("ray")
    jobs = subprocess.run([ray, "job", "list", "--address", site.dashboard], capture_output=True, check=True)
    assert b"SUCCEEDED" in jobs.stdout
    assert not found_in(jobs.stdout + jobs.stderr, SECRET)
    assert [p for folder in (opened.folder, site.temporary) for p in files_with(folder, SECRET)] == []
    assert not found_in(LOG.read_bytes(), SECRET)
    with psycopg.connect(opened.url) as connection:
        assert tables_with(connection, SECRET) == []


def main() -> None:
    """Set up, prove, tear down."""
    began = time.monotonic()
    LOG.parent.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    with ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        opened = stack.enter_context(open_sandbox(server))
        temporary = tempfile.TemporaryDirectory(prefix="ray_", ignore_cleanup_errors=True)
        site = Site(opened, stack.enter_context(temporary))
        set_pool(instance := stack.enter_context(open_instance()), 2)
        for unit in ("ray-head", "code", "webserver", "daemon", "ray-gpu"):
            site.start(unit)
            stack.callback(site.lose, unit)
        print(prove(opened, site, instance), f"in {time.monotonic() - began:.0f} s; the units' output is in {LOG}")


if __name__ == "__main__":
    main()
