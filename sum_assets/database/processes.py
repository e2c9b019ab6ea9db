"""Identifies a process of this machine, so that its end shows even where its ID or the clock was reused or set."""

import os
import socket
import sys
from functools import cache
from pathlib import Path

import psutil


@cache
def boot_id() -> str:
    """Return what makes process IDs unique: this boot of the machine and, on Linux, the process namespace."""
    if sys.platform != "linux":
        return f"{os.uname().nodename} {psutil.boot_time():.0f}"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def process_start(pid: int) -> str | None:
    """Return when a process was started, None where it has ended.

    On Linux in ticks since boot: what psutil computes from them moves with the clock.
    """
    try:
        if sys.platform != "linux":
            return str(psutil.Process(pid).create_time())
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, psutil.Error):
        return None
    return None if state in "ZX" else fields[18]


def own_process() -> dict[str, object]:
    """Return what tells this process from all others: `host`, `boot_id`, `pid` and `process_start`."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot_id": boot_id(), "pid": pid, "process_start": process_start(pid)}


def is_running(boot: str, pid: int, start: str, *, expired: bool) -> bool:
    """Return whether a process runs: in this boot of the machine, it is looked up; elsewhere, its heartbeat decides."""
    return process_start(pid) == start if boot == boot_id() else not expired
