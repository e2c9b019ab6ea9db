"""Devices, drivers and libraries, those of this machine and others."""

from types import SimpleNamespace

import pynvml
import pytest
import torch

from sum_assets.doctor import machine
from sum_assets.doctor.finding import Finding
from sum_assets.doctor.machine import library_versions, look_at_devices, look_at_driver, look_at_libraries


def test_the_cpu_is_described() -> None:
    *_, (device, finding) = look_at_devices()
    assert device is not None
    assert device.torch_name == "cpu"
    assert finding.level == "ok"
    assert " cores, " in finding.message
    assert ("computes in bfloat16" in finding.message) == device.computes_bfloat16


def build_in(monkeypatch: pytest.MonkeyPatch, name: str, major: int, minor: int, arches: list[str]) -> None:
    """Have torch find two GPUs of a kind, and have kernels for some."""
    properties = SimpleNamespace(name=name, major=major, minor=minor, total_memory=12 * 2**30, uuid="x")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: arches)


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    build_in(monkeypatch, "Tesla V100", 7, 0, ["sm_70"])
    found = [(device.torch_name if device else "", finding) for device, finding in look_at_devices()]
    about = "Tesla V100, 12.0 GiB of memory, compute capability 7.0, no bfloat16"
    assert found[0] == ("cuda:0", Finding("machine", "ok", "cuda:0", about))
    assert [name for name, _ in found] == ["cuda:0", "cuda:1", "cpu"]


def test_a_gpu_without_kernels_fails_where_auto_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    build_in(monkeypatch, "Tesla K80", 3, 7, ["sm_75", "sm_80"])
    found = list(look_at_devices())
    assert [device is None for device, _ in found] == [True, True, False]
    assert [finding.level for _, finding in found] == ["failure", "warning", "ok"]
    assert "has no kernels for Tesla K80 (compute capability 3.7" in found[0][1].message


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that sees two GPUs."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "470.256.02")
    monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion", lambda: 11040)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)


@pytest.mark.usefixtures("driver")
def test_gpus_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    (finding,) = look_at_driver()
    assert finding.level == "warning"
    assert "NVIDIA 470.256.02, for CUDA 11.4 and older, sees 2 GPUs, torch 0. torch 2" in finding.message
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    (finding,) = look_at_driver()
    assert (finding.level, "CUDA_VISIBLE_DEVICES is 1: unset it" in finding.message) == ("warning", True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [finding.level for finding in look_at_driver()] == ["ok"]


def test_gpus_whose_driver_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    monkeypatch.setattr(machine, "_nvidia_gpus", lambda: 0)
    assert list(look_at_driver()) == []
    monkeypatch.setattr(machine, "_nvidia_gpus", lambda: 1)
    (finding,) = look_at_driver()
    assert finding.level == "warning"
    assert finding.message.startswith("1 NVIDIA GPU is built in, and the driver does not answer: RM has detected")


def test_libraries() -> None:
    first, *others = look_at_libraries()
    assert f"torch {library_versions()['torch']}" in first.message
    assert others == [], "this environment is the one that is tested"


def test_a_library_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch>=99", "no-such-library>=1", 'ray<1; extra == "ray"', 'absent; extra == "absent"', "psycopg>=3"]
    monkeypatch.setattr(machine, "requires", lambda _: wanted)
    found = {finding.subject: finding for finding in look_at_libraries()}
    assert set(found) == {"libraries", "torch", "no-such-library", "ray"}
    assert found["torch"].message.endswith("and sum_assets needs >=99. `pip install 'torch>=99'`.")
    assert found["no-such-library"].level == "failure"
    assert found["ray"].level == "warning"
