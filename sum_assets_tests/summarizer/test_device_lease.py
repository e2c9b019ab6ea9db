"""No two runs on one device, and none that waits for a dead one."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sum_assets.errors import UserError
from sum_assets.summarizer import GpuSettings, device_lease, devices
from sum_assets.summarizer.device_lease import FOLDER_VARIABLE, SLOTS_VARIABLE, slots
from sum_assets.summarizer.device_lease import device_lease as lease
from sum_assets.summarizer.types import Device

A100 = [Device("cuda", n, "A100", (8, 0), True, 80 * 10**9, f"GPU-{n}") for n in range(3)]
OTHER = Device("cuda", 3, "K80", (3, 7), False, 12 * 10**9, "GPU-3")
#: Leases the given device, prints that it does, and holds it until it is killed.
_HOLD = """
import sys, time
from sum_assets.summarizer import GpuSettings
from sum_assets.summarizer.device_lease import device_lease
with device_lease(GpuSettings(device=sys.argv[1]), lambda message: print(message, flush=True)) as gpu:
    print("held", gpu.device, flush=True)
    time.sleep(600)
"""


class StillWaitingError(Exception):
    """Raised instead of waiting on."""


def stop(message: str) -> None:
    raise StillWaitingError(message)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setattr(device_lease, "_POLL_SECONDS", 0.05)
    return tmp_path / "leases"


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of a kind and an older one; `find_device` alone asks the driver."""
    by_name = {f"cuda:{d.index}": d for d in [*A100, OTHER]} | {"cuda": A100[0], "auto": A100[0]}
    monkeypatch.setattr(devices, "find_device", by_name.__getitem__)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
def test_auto_takes_the_next_free_device_of_the_first_ones_kind() -> None:
    auto = GpuSettings()
    with lease(auto, stop) as first, lease(auto, stop) as second:
        assert (first.device, second.device) == ("cuda:0", "cuda:1")
        with lease(GpuSettings(device="cuda"), stop) as third:
            assert third.device == "cuda:2"
            with pytest.raises(StillWaitingError, match=r"waiting for cuda:0 or cuda:1 or cuda:2, in use by process"):
                lease(auto, stop).__enter__()
        with pytest.raises(StillWaitingError, match=r"waiting for cuda:1, in use by process \d+ of "):
            lease(GpuSettings(device="cuda:1"), stop).__enter__()
        with lease(GpuSettings(device="cuda:3"), stop) as named:
            assert named.device == "cuda:3"
    with lease(auto, stop) as again:
        assert again.device == "cuda:0"


@pytest.mark.usefixtures("four_gpus")
def test_several_devices_are_held_together_and_slots_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with lease(GpuSettings(devices=["cuda:2", "cuda:0"]), stop) as both:
        assert both.devices == ["cuda:2", "cuda:0"]
        with lease(GpuSettings(), stop) as rest:
            assert rest.device == "cuda:1"
            monkeypatch.setenv(SLOTS_VARIABLE, "2")
            with lease(GpuSettings(), stop) as shared:
                assert shared.device == "cuda:0", "each device has a slot more; those of the first come first"
    monkeypatch.setenv(SLOTS_VARIABLE, "none")
    with pytest.raises(UserError, match=r"SUM_ASSETS_DEVICE_SLOTS is 'none'\. Set it to a number of runs"):
        slots()


def test_what_needs_no_device_or_has_none_waits_for_nobody() -> None:
    with lease(GpuSettings(device="cpu"), stop):
        for gpu in (GpuSettings(engine="lead"), GpuSettings(device="cuda:99")):
            with lease(gpu, stop) as same:
                assert same == gpu


def test_the_device_of_a_process_that_was_killed_is_free_at_once() -> None:
    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-c", _HOLD, "cpu"], stdout=subprocess.PIPE, text=True)

    first = start()
    assert first.stdout
    assert first.stdout.readline() == "held cpu\n"
    second = start()
    assert second.stdout
    assert second.stdout.readline().startswith(f"waiting for cpu, in use by process {first.pid} of ")
    killed = time.monotonic()
    first.kill()
    assert second.stdout.readline() == "held cpu\n"
    assert time.monotonic() - killed < 10, "at its next look, once in a second"
    second.kill()
    for process in (first, second):
        process.wait()
        assert process.stdout
        process.stdout.close()


def test_a_lock_that_cannot_be_opened_is_named(folder: Path) -> None:
    folder.mkdir()
    (folder / "cpu.0").mkdir()
    with pytest.raises(UserError, match=r"cannot be opened: Is a directory. Remove it, or set SUM_ASSETS_LEASES to"):
        lease(GpuSettings(device="cpu"), stop).__enter__()


def test_the_folder_is_for_all_users_and_nothing_is_written_to_what_is_there(folder: Path) -> None:
    with lease(GpuSettings(device="cpu"), stop):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
        assert stat.S_IMODE((folder / "cpu.0").stat().st_mode) == 0o666
    (folder / "cpu.0").write_text("somebody's text")
    with (
        lease(GpuSettings(device="cpu"), stop),
        pytest.raises(StillWaitingError, match=rf"in use by process {os.getpid()} of "),
    ):
        lease(GpuSettings(device="cpu"), stop).__enter__()
    assert (folder / "cpu.0").read_text() == "somebody's text"


def test_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"leases cannot be used: it is a link\. Correct that, or set SUM_"):
        lease(GpuSettings(device="cpu"), stop).__enter__()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    folder.unlink()
    folder.mkdir()
    for target in (victim, tmp_path / "new"):
        (folder / "cpu.0").symlink_to(target)
        with pytest.raises(UserError, match=r"cpu\.0 cannot be opened: It is a link.* Remove it"):
            lease(GpuSettings(device="cpu"), stop).__enter__()
        (folder / "cpu.0").unlink()
    os.mkfifo(folder / "cpu.0")
    with pytest.raises(UserError, match=r"cpu\.0 is not a file\. Remove it"):
        lease(GpuSettings(device="cpu"), stop).__enter__()
    (folder / "cpu.0").unlink()
    (folder / "cpu.0").hardlink_to(victim)
    with lease(GpuSettings(device="cpu"), stop):
        assert victim.read_text() == "precious"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("owner", "mode", "fault"),
    [
        (0, 0o755, None),
        (0, 0o1777, None),
        (0, 0o777, r"every user may exchange its files \(`chmod \+t` it\)"),
        (65534, 0o755, r"it belongs to nobody \(`chown root` it\)"),
        (65534, 0o1777, r"it belongs to nobody \(`chown root` it\)"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_trusts_no_folder_of_another_user(folder: Path, owner: int, mode: int, fault: str | None) -> None:
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    if fault is None:
        lease(GpuSettings(device="cpu"), stop).__enter__()
    else:
        with pytest.raises(UserError, match=f"leases cannot be used: {fault}"):
            lease(GpuSettings(device="cpu"), stop).__enter__()
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("mode", "taken"), [(0o755, False), (0o1777, True), (0o777, False)])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_others_take_a_folder_that_its_owner_made_for_all(
    folder: Path, mode: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, 65534, 65534)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if taken:
        lease(GpuSettings(device="cpu"), stop).__enter__()
    else:
        with pytest.raises(UserError, match="leases cannot be used"):
            lease(GpuSettings(device="cpu"), stop).__enter__()
