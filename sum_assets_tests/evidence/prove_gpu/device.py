"""What the device is, how fast it computes, and what its driver tells."""

import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from sum_assets.benchmark.device_meter import DeviceMeter
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.device_rates import device_rates
from sum_assets.summarizer.devices import choose_precision, find_device
from sum_assets_tests.evidence.prove_gpu.case import Machine, Result, check

_LIBRARIES = ("torch", "transformers", "bitsandbytes", "torchao", "ctranslate2", "flash-attn")


def describe(machine: Machine) -> Result:
    """Find the device, and compute on it. The figures are the facts that decisions need, and versions."""
    device = find_device(machine.device)
    a = torch.ones(64, 64, device=device.torch_name)
    wrong = [] if bool((a @ a == 64).all()) else ["a product of matrices is wrong"]
    facts = {**asdict(device), "torch_name": device.torch_name, "cuda": torch.version.cuda, "versions": _versions()}
    return Result("failed", wrong[0]) if wrong else Result("ok", device.name, facts)


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def rates(machine: Machine) -> Result:
    """Measure the rates of which rooflines are made."""
    device = find_device(machine.device)
    half = choose_precision("auto", device, "llama")
    formats = {"float32": ("float32", "float32"), half: (half, half), "int8": ("int8", half)}
    figures: dict[str, Any] = {}
    for name, (number_format, precision) in formats.items():
        measured = device_rates(device, number_format, precision, torch.get_num_threads())
        figures[name] = asdict(measured)
    wrong = [name for name, found in figures.items() if not (found["flops"] > 1e9 and found["bytes"] > 1e9)]
    lines = [f"{n}: {f['flops'] / 1e12:.3g} TFLOP/s, {f['bytes'] / 1e9:.4g} GB/s" for n, f in figures.items()]
    return Result("failed" if wrong else "ok", "; ".join(lines), figures)


def meter(machine: Machine) -> Result:
    """Read power, utilization and memory while the device computes. Raises UnsupportedError on a CPU."""
    if machine.rehearsal:
        raise UnsupportedError("a CPU tells no power")
    device = find_device(machine.device)
    a = torch.ones(4096, 4096, device=device.torch_name)
    with DeviceMeter(device) as readings:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            a = (a @ a) / 4096
            torch.cuda.synchronize(device.index)
    used = memory_used(device.index)
    found = {"watts": readings.watts, "utilization": readings.utilization, "memory_used": used}
    wrong = [f"the driver tells no {name}" for name, value in found.items() if value is None]
    return check(wrong, ", ".join(f"{name} {value:.4g}" for name, value in found.items() if value is not None))


def memory_used(index: int | None) -> int | None:
    """Return the bytes in use on a device, by all processes, as NVML tells; None where it does not."""
    try:
        return int(torch.cuda.device_memory_used(index))
    except Exception:  # a driver that lacks a reading raises one of many types
        return None
