"""`deploy/sum-assets.sbatch` on a Slurm of its own, one node with two GPUs that are not there: `make prove-slurm`.

Of the jobs of an array, one is asked to stop and one is killed. Every row is held against those of a quiet run. It
needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import psutil
import yaml
from psycopg import conninfo

from sum_assets.defs.instance import open_instance, registered_ranges
from sum_assets.paths import URL_VARIABLE, project_file
from sum_assets_tests.faults.cases import wait_until
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, open_sandbox
from sum_assets_tests.faults.server import Server
from sum_assets_tests.leaks import files_with, found_in

SECRET = "Tr0ub4dor-of-the-database"
ROWS, RANGES, JOBS = 4, 24, 5
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue")
_CONF = """\
ClusterName=proof
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
KillWait=30
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A cluster of this machine alone, with files and ports of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        missing = [name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
        if missing or os.geteuid():
            raise SystemExit(
                f"This needs root and {', '.join(missing) or 'nothing else'}: apt-get install slurmctld slurmd munge"
            )
        self.folder = folder
        host = socket.gethostname().partition(".")[0]
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o755)
        for number in range(2):
            (folder / f"gpu{number}").touch()
        conf = folder / "slurm.conf"
        conf.write_text(_CONF.format(folder=folder, host=host, cpus=os.cpu_count()))
        (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        os.environ["SLURM_CONF"] = str(conf)
        own = [f"--{name}={folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        munged = ["munged", "--foreground", "--force", f"--key-file={key}", *own]
        for command in (munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            process = self._start(command)
            stack.callback(self._end, process)
            time.sleep(1)

    def _start(self, command: list[str]) -> psutil.Popen:
        executable = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin")
        with (self.folder / "output.log").open("ab") as log:
            return psutil.Popen([str(executable), *command[1:]], stdout=log, stderr=log)

    @staticmethod
    def _end(process: psutil.Popen) -> None:
        process.terminate()
        process.wait()

    def ready(self) -> bool:
        """Return whether its node takes jobs."""
        return "State=IDLE" in run("scontrol", "show", "node")


def run(*words: str, cwd: Path | None = None) -> str:
    """Return what a command of Slurm prints."""
    said = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    return said.stdout + said.stderr


def prove(opened: Sandbox, slurm: Slurm, instance: dg.DagsterInstance) -> str:
    """Return how it went; an AssertionError says what did not."""
    folder = opened.folder

    def log(element: int) -> str:
        path = folder / f"sum-assets-{job}_{element}.log"
        return path.read_text() if path.exists() else ""

    def state(element: int) -> str:
        shown = run("scontrol", "show", "job", f"{job}_{element}")
        return shown.partition("JobState=")[2].split(" ")[0]

    def two_running() -> bool:
        status = opened.command("status")
        status.wait()
        return "2 running" in status.output

    shutil.copy(project_file("deploy") / "sum-assets.sbatch", folder)
    submitted = run(
        "sbatch", "--parsable", f"--array=1-{JOBS}%2", "--cpus-per-task=1", "--mem=0", "sum-assets.sbatch", "run.yaml",
        cwd=folder,
    )  # fmt: skip
    job = submitted.strip()
    assert job.isdecimal(), submitted
    wait_until(lambda: ": done." in log(1) and ": done." in log(2), 120, "ranges of two jobs")
    assert [state(n) for n in (1, 2, 3)] == ["RUNNING", "RUNNING", "PENDING"]
    assert not found_in(run("scontrol", "show", "job", job).encode(), SECRET)
    wait_until(two_running, 60, "two ranges that `status` shows as running")
    run("scancel", "--batch", "--signal=TERM", f"{job}_1")
    wait_until(lambda: "Run it again" in log(1), 60, "the end of the first job")
    run("scancel", "--batch", "--signal=KILL", f"{job}_2")
    wait_until(lambda: run("squeue", "--noheader").strip() == "", 300, "the end of all jobs")
    assert "and none is free" in log(JOBS)
    tally = opened.tally(LEAD)
    assert (tally.lost, tally.twice) == (0, 0), tally
    runs = instance.get_runs()
    done = Counter(one.tags["dagster/partition"] for one in runs if one.is_success)
    assert max(done.values()) == 1, "a range was done twice"
    assert RANGES - len(done) <= 1, "but one that was published when its run was killed"
    assert all(one.is_finished for one in runs), "the killed run was ended by others"
    ended = Counter(one.status.value for one in runs)
    assert files_with(slurm.folder, SECRET) == []
    shares = [log(n).count(": done.") for n in range(1, JOBS + 1)]
    return f"{tally}; ranges by job {shares}; runs {dict(ended)}"


def main() -> None:
    """Set up, prove, tear down."""
    began = time.monotonic()
    with ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        opened = stack.enter_context(open_sandbox(server))
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm_", ignore_cleanup_errors=True)))
        temporary.chmod(0o755)
        slurm = Slurm(temporary, stack)
        wait_until(slurm.ready, 60, "the node")
        recut = opened.command("ranges", "--rows", str(ROWS), "--reset", "--yes")
        recut.wait()
        assert recut.process.exitcode == 0, recut.output
        (opened.folder / "run.yaml").write_text(yaml.safe_dump(LEAD))
        (opened.folder / ".venv").symlink_to(Path(sys.executable).parents[1])
        settings = opened.folder / "sum_assets.env"
        url = conninfo.make_conninfo(opened.url, password=SECRET)
        variables = {**opened.environment, URL_VARIABLE: url, "PYTHONPATH": os.getcwd()}
        settings.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
        settings.chmod(0o600)
        os.environ["XDG_CONFIG_HOME"] = str(opened.folder)
        os.environ |= opened.environment
        instance = stack.enter_context(open_instance())
        assert len(registered_ranges(instance)) == RANGES
        for variable in opened.environment:
            os.environ.pop(variable)
        print(prove(opened, slurm, instance), f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
