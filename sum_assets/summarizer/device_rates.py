"""Measures how fast a device multiplies matrices and copies memory, once, and keeps it in a file.

`python -m sum_assets.summarizer.device_rates DEVICE FORMAT PRECISION THREADS` prints both rates as JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import reduce
from hashlib import sha256
from operator import add
from uuid import uuid4

import torch

from sum_assets.errors import UnsupportedError, first_line
from sum_assets.paths import rates_dir
from sum_assets.summarizer.memory import BITS
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.model_work import count_work
from sum_assets.summarizer.roofline import Rates, Roofline
from sum_assets.summarizer.types import Device

#: Seconds for each of the two rates.
_TRIES = 0.15
_PROBE_LIMIT = 120


def open_roofline(resolved: ModelSettings) -> Roofline | str:
    """Return the limit of resolved settings, or why there is none: a run does not fail for it."""
    if resolved.ray_address:
        return "the devices of a cluster are not measured"
    quantization = resolved.quantization_in_force
    if quantization not in BITS:
        return f"the formula does not know the quantization {quantization}"
    try:
        size = getattr(torch, resolved.precision).itemsize
        work = count_work(resolved.files.config)
        threads = min(resolved.workers_per_device * (resolved.threads_per_worker or 2**16), torch.get_num_threads())
        number_format = "int8" if BITS[quantization] == 8 else resolved.precision
        rates = [device_rates(device, number_format, resolved.precision, threads) for device in resolved.devices]
    except Exception as error:  # of a device or a library, and their types are not documented
        return str(error) if isinstance(error, UnsupportedError) else f"the device's rates: {first_line(error)}"
    return Roofline(
        work,
        reduce(add, rates),
        (BITS[quantization] or 8 * size) / 8,
        size,
        resolved.batch_size,
        resolved.batch_tokens,
        resolved.settings.max_output_tokens,
        resolved.settings.num_beams,
    )


def device_rates(device: Device, number_format: str, precision: str, threads: int) -> Rates:
    """Return a device's rates, from the file of an earlier measurement where there is one.

    int8 has the rate of the precision where that is higher, or the device multiplies no int8.
    """
    threads = threads if device.kind == "cpu" else 0
    key = json.dumps([device.name, device.uuid, device.kind, number_format, precision, threads, torch.__version__])
    file = rates_dir() / f"{sha256(key.encode()).hexdigest()[:16]}.json"
    try:
        return Rates(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        pass
    if device.kind == "cuda":  # in a process of its own: its memory is not the run's
        command = [sys.executable, "-m", __name__, device.torch_name, number_format, precision, "0"]
        process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PROBE_LIMIT)
        rates = Rates(**json.loads(process.stdout.splitlines()[-1]))
    else:
        rates = measure_rates(device.torch_name, number_format, precision, threads)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{uuid4().hex}")
    part.write_text(json.dumps(asdict(rates)))
    part.replace(file)
    return rates


def measure_rates(device: str, number_format: str, precision: str, threads: int) -> Rates:
    """Return the best of several tries of each, in about half a second: what disturbs a try makes it slower.

    Numbers are drawn: an H200 multiplies ones 14 % faster (docs/evidence/gpu.md).
    """
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        side = 8192 if device.startswith("cuda") else 1024
        a = torch.randn(side, side, device=device).to(getattr(torch, precision))
        out = torch.empty_like(a)
        flops = 2 * side**3 / _best(device, lambda: torch.mm(a, a, out=out))
        if number_format == "int8":
            flops = max(flops, _int8_flops(device, side if device.startswith("cuda") else 512))
        size = 2**28 if device.startswith("cuda") else 2**26
        source = torch.ones(size, dtype=torch.uint8, device=device)
        copy = torch.empty_like(source)
        return Rates(flops, 2 * size / _best(device, lambda: copy.copy_(source)))
    finally:
        torch.set_num_threads(before)


def _int8_flops(device: str, side: int) -> float:
    a = torch.randint(-127, 128, (side, side), dtype=torch.int8, device=device)
    try:
        return 2 * side**3 / _best(device, lambda: torch._int_mm(a, a))
    except (RuntimeError, NotImplementedError):
        return 0.0


def _best(device: str, work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several tries, after one to warm up."""

    def wait() -> None:
        if device != "cpu":
            torch.accelerator.synchronize()

    work()
    wait()
    best, until = float("inf"), time.perf_counter() + _TRIES
    while time.perf_counter() < until:
        started = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - started)
    return best


def main(arguments: Sequence[str]) -> None:
    """Print the rates of a device."""
    device, number_format, precision, threads = arguments
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    print(json.dumps(asdict(measure_rates(device, number_format, precision, int(threads)))))


if __name__ == "__main__":
    main(sys.argv[1:])
