"""Keeps runs on one host from sharing a device: a lock per device and slot, which the system drops with its holder."""

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
from sum_assets.summarizer.settings import GpuSettings

SLOTS_VARIABLE = "SUM_ASSETS_DEVICE_SLOTS"
FOLDER_VARIABLE = "SUM_ASSETS_LEASES"
_LOOK_EVERY = 1.0
_SAY_EVERY = 600.0
Settings = TypeVar("Settings", bound=GpuSettings)


def slots() -> int:
    """Return how many runs may share a device: `SUM_ASSETS_DEVICE_SLOTS`, or one. Raises UserError for no number."""
    said = os.environ.get(SLOTS_VARIABLE) or "1"
    if not said.isdecimal() or int(said) < 1:
        raise UserError(f"{SLOTS_VARIABLE} is a number of runs, at least 1, not {said!r}.")
    return int(said)


def _folder() -> Path:
    """Return the folder of the locks: one for all users of the host, unless `SUM_ASSETS_LEASES` names another."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or "/tmp/sum_assets_leases")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):
            folder.chmod(0o1777)
    return folder


@contextmanager
def device_lease(gpu: Settings, say: Callable[[str], object]) -> Iterator[Settings]:
    """Give the settings with each device named, and keep the devices from other runs until the end of the block.

    `auto` and `cuda` become the first free device like the first one. Where none is free, it waits, since what holds
    it will end; `say` hears who that is. Nothing is held for the engine `lead`, for a Ray cluster, which keeps
    account itself, nor for devices that are missing: resolving the settings says so.
    """
    from sum_assets.summarizer.devices import devices_of  # imports torch

    try:
        wanted = devices_of(gpu)
    except UnsupportedError:
        wanted = []
    # In one order everywhere, so that no two runs each hold what the other waits for.
    named = [{device.uuid or device.torch_name: device.torch_name for device in each} for each in wanted]
    with ExitStack() as held:
        names = [held.enter_context(_one_of(each, say)) for each in sorted(named, key=min)]
        if gpu.devices and named:
            yield gpu.model_copy(update={"devices": [name for each in named for name in each.values()]})
        else:
            yield gpu.model_copy(update={"device": names[0]}) if names else gpu


@contextmanager
def _one_of(devices: dict[str, str], say: Callable[[str], object]) -> Iterator[str]:
    """Hold a slot of one of the devices, given by what they are called in all processes, and give its name here."""
    paths = [
        (_folder() / f"{re.sub(r'[^A-Za-z0-9-]', '-', key)}.{slot}", name)
        for slot in range(slots())
        for key, name in devices.items()
    ]
    said = -_SAY_EVERY
    while True:
        for path, name in paths:
            if (held := _try(path)) is not None:
                try:
                    yield name
                finally:
                    os.close(held)
                return
        if time.monotonic() - said >= _SAY_EVERY:
            said = time.monotonic()
            say(f"waiting for {' or '.join(devices.values())}, in use by {_holders([path for path, _ in paths])}")
        time.sleep(_LOOK_EVERY)


def _try(path: Path) -> int | None:
    """Return the descriptor that holds a lock, None where somebody else does. No other process inherits it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino:
        os.close(descriptor)  # whoever tidies up has deleted the file in between
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} of {getpass.getuser()}".encode(), 0)
    return descriptor


def _open(path: Path) -> int:
    """Open a file that any user of the host may lock. Raises UserError where that is not so."""
    try:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR)  # with O_CREAT, Linux would refuse that of another user in such a folder
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
    said = []
    for path in paths:
        with suppress(OSError):
            said.append(path.read_text(errors="replace"))
    return ", ".join(filter(None, said)) or "another run"


def device_slots() -> int:
    """Return how many runs this host has room for: its CUDA devices, or its one other device, times the slots."""
    import torch

    return max(torch.cuda.device_count(), 1) * slots()
