"""Keeps runs on one host from sharing a device.

Each device and slot has a lock file. The operating system releases the lock when its holder ends.
"""

import fcntl
import getpass
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer.user_settings import GpuSettings

SLOTS_VARIABLE = "SUM_ASSETS_DEVICE_SLOTS"
FOLDER_VARIABLE = "SUM_ASSETS_LEASES"
_POLL_SECONDS = 1.0
_LOG_SECONDS = 600.0
Settings = TypeVar("Settings", bound=GpuSettings)


def slots() -> int:
    """Return how many runs may share a device: `SUM_ASSETS_DEVICE_SLOTS`, or 1.

    Raises UserError if the variable is not a positive number.
    """
    value = os.environ.get(SLOTS_VARIABLE) or "1"
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"{SLOTS_VARIABLE} is {value!r}. Set it to a number of runs, at least 1.")
    return int(value)


def _folder() -> Path:
    """Return the folder of the lock files: `SUM_ASSETS_LEASES`, or one for all users of the host."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or "/tmp/sum_assets_leases")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):
            folder.chmod(0o1777)
    return folder


@contextmanager
def device_lease(gpu: Settings, log: Callable[[str], object]) -> Iterator[Settings]:
    """Lease the devices of the settings until the end of the block, and yield the settings with each device named.

    `auto` and `cuda` become the first free device of the same model as the first one. If none is free, wait for one,
    and pass `log` a message with the holders every ten minutes. Nothing is leased for the engine `lead`, for a Ray
    cluster, which manages its own devices, or for a missing device, which resolving the settings reports.
    """
    from sum_assets.summarizer.devices import devices_of  # imports torch

    try:
        requests = devices_of(gpu)
    except UnsupportedError:
        requests = []
    candidates = [{device.uuid or device.torch_name: device.torch_name for device in each} for each in requests]
    with ExitStack() as leases:
        # Every run takes its locks in the same order, which prevents deadlocks.
        names = [leases.enter_context(_one_of(each, log)) for each in sorted(candidates, key=min)]
        if gpu.devices and candidates:
            yield gpu.model_copy(update={"devices": [name for each in candidates for name in each.values()]})
        else:
            yield gpu.model_copy(update={"device": names[0]}) if names else gpu


@contextmanager
def _one_of(devices: dict[str, str], log: Callable[[str], object]) -> Iterator[str]:
    """Hold a slot of one of the devices, and yield its name in this process. Keys are names valid in all processes."""
    paths = [
        (_folder() / f"{re.sub(r'[^A-Za-z0-9-]', '-', key)}.{slot}", name)
        for slot in range(slots())
        for key, name in devices.items()
    ]
    logged_at = -_LOG_SECONDS
    while True:
        for path, name in paths:
            if (descriptor := _try_lock(path)) is not None:
                try:
                    yield name
                finally:
                    os.close(descriptor)
                return
        if time.monotonic() - logged_at >= _LOG_SECONDS:
            logged_at = time.monotonic()
            log(f"waiting for {' or '.join(devices.values())}, in use by {_holders([path for path, _ in paths])}")
        time.sleep(_POLL_SECONDS)


def _try_lock(path: Path) -> int | None:
    """Return the descriptor that holds a lock, or None if another run holds it. Child processes do not inherit it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino:
        os.close(descriptor)  # the file was deleted in the meantime
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} of {getpass.getuser()}".encode(), 0)
    return descriptor


def _open(path: Path) -> int:
    """Open a file that any user of the host may lock. Raises UserError if it cannot be opened."""
    try:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR)  # with O_CREAT, Linux refuses a file of another user in a sticky folder
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.fchmod(descriptor, 0o666)
            return descriptor
        return os.open(path, os.O_RDWR)
    except OSError as error:
        raise UserError(
            f"The lock {path} cannot be opened: {error.strerror}. Set {FOLDER_VARIABLE} to a folder that all users "
            "of this host can write."
        ) from error


def _holders(paths: Sequence[Path]) -> str:
    holders = []
    for path in paths:
        with suppress(OSError):
            holders.append(path.read_text(errors="replace"))
    return ", ".join(filter(None, holders)) or "another run"


def device_slots() -> int:
    """Return how many runs can hold a device of this host at once: its CUDA devices, or 1 for the CPU, times slots."""
    import torch

    return max(torch.cuda.device_count(), 1) * slots()
