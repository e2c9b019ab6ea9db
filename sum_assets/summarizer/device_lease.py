"""Keeps runs on one host from sharing a device.

Each device and slot has a lock file. The operating system releases the lock when its holder ends.
"""

import fcntl
import os
import pwd
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer.engine_registry import ENGINES
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


def _folder_path() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or "/tmp/sum_assets_leases")


def _open_folder() -> int:
    """Open the folder of the lock files: `SUM_ASSETS_LEASES`, or one for all users of the host, made if missing.

    Raises UserError where it is a link, or where somebody else could exchange the files in it.
    """
    path = _folder_path()
    made = False
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
            made = True
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else error.strerror
        raise _refused(path, str(reason)) from error
    if made:
        os.fchmod(folder, 0o1777)
    if fault := _fault(os.fstat(folder)):
        os.close(folder)
        raise _refused(path, fault)
    return folder


def _fault(folder: os.stat_result) -> str | None:
    """Return who else could exchange the lock files, None if nobody could.

    The owner of a folder may exchange files in it: that is us, root, or whoever made it for all users. Root trusts
    root alone.
    """
    for_all = bool(folder.st_mode & stat.S_IWOTH)
    sticky = bool(folder.st_mode & stat.S_ISVTX)
    if for_all and not sticky:
        return "every user may exchange its files (`chmod +t` it)"
    if folder.st_uid not in (0, os.geteuid()) and (os.geteuid() == 0 or not for_all):
        return f"it belongs to {_user(folder.st_uid)} (`chown root` it)"
    return None


def _refused(path: Path, reason: str) -> UserError:
    return UserError(
        f"The folder of locks {path} cannot be used: {reason}. Correct that, or set {FOLDER_VARIABLE} to a folder that "
        "all users of this host can write."
    )


@contextmanager
def device_lease(gpu: Settings, log: Callable[[str], object]) -> Iterator[Settings]:
    """Lease the devices of the settings until the end of the block, and yield the settings with each device named.

    `auto` and `cuda` become the first free device of the same model as the first one. If none is free, wait for one,
    and pass `log` a message with the holders every ten minutes. Nothing is leased for the engine `lead`, for a Ray
    cluster, which manages its own devices, or for a missing device, which resolving the settings reports.
    """
    if not ENGINES[gpu.engine].has_model:
        yield gpu
        return
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
    names = [
        (f"{re.sub(r'[^A-Za-z0-9-]', '-', key)}.{slot}", name)
        for slot in range(slots())
        for key, name in devices.items()
    ]
    logged_at = -_LOG_SECONDS
    with _opened(_open_folder()) as folder:
        while True:
            held_by_others = set()
            for file, name in names:
                with _opened(_open_lock(folder, file)) as lock:
                    if _acquire(lock, folder, file):
                        yield name
                        return
                    held_by_others.add(os.fstat(lock).st_ino)
            if time.monotonic() - logged_at >= _LOG_SECONDS:
                logged_at = time.monotonic()
                log(f"waiting for {' or '.join(devices.values())}, in use by {_holders(held_by_others)}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_lock(folder: int, file: str) -> int:
    """Open a file that any user of the host may lock. Nothing is ever written to it, and no link is followed.

    Raises UserError if it cannot be opened. Child processes do not inherit the descriptor.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK  # locks on network drives need a file open for writing
    path = _folder_path() / file
    try:
        try:
            lock = os.open(file, flags, dir_fd=folder)  # with O_CREAT, Linux refuses others' files in sticky folders
        except FileNotFoundError:
            with suppress(FileExistsError):
                lock = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
                os.fchmod(lock, 0o666)
                return lock
            lock = os.open(file, flags, dir_fd=folder)
    except OSError as error:
        reason = "It is a link, and somebody may have put it there" if path.is_symlink() else error.strerror
        raise UserError(
            f"The lock {path} cannot be opened: {reason}. Remove it, or set {FOLDER_VARIABLE} to a folder that all "
            "users of this host can write."
        ) from error
    if not stat.S_ISREG(os.fstat(lock).st_mode):
        os.close(lock)
        raise UserError(f"The lock {path} is not a file. Remove it.")
    return lock


def _acquire(lock: int, folder: int, file: str) -> bool:
    """Return whether the lock is ours now: no other run holds it, and the file is still the one of that name."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), os.stat(file, dir_fd=folder, follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False


def _holders(inodes: Collection[int]) -> str:
    """Return which processes lock these files, as the kernel lists them."""
    holders = []
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            match = re.match(r"\d+: FLOCK +ADVISORY +WRITE +(\d+) +\w+:\w+:(\d+) ", line)
            if match and int(match[2]) in inodes:
                with suppress(OSError):
                    holders.append(f"process {match[1]} of {_user(os.stat(f'/proc/{match[1]}').st_uid)}")
    return ", ".join(holders) or "another run"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def device_slots() -> int:
    """Return how many runs can hold a device of this host at once: its CUDA devices, or 1 for the CPU, times slots."""
    import torch

    return max(torch.cuda.device_count(), 1) * slots()
