"""The readings of a GPU's driver are averaged; without readings there are no means."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from sum_assets.benchmark.device_meter import DeviceMeter, torch_readings
from sum_assets.summarizer.types import Device

GPU = Device("cuda", 1, "NVIDIA A100", (8, 0), True, 80 * 2**30)


def test_readings_are_averaged() -> None:
    watts = iter([100.0, 300.0])

    def readings(index: int) -> tuple[Callable[[], float], Callable[[], float]]:
        assert index == 1
        return (lambda: next(watts)), (lambda: 0.5)

    with DeviceMeter(GPU, readings) as meter:
        deadline = time.monotonic() + 30
        while next(iter(meter._samples[0][1:]), None) is None and time.monotonic() < deadline:
            time.sleep(0.05)
    assert (meter.watts, meter.utilization) == (200.0, 0.5), "a reader that fails later keeps what it has read"


@pytest.mark.parametrize("device", [GPU, replace(GPU, kind="cpu", index=None)])
def test_what_no_driver_tells_is_absent(device: Device) -> None:
    """Here there is no NVML: torch's readings raise, on a GPU as on a machine that has none."""
    with DeviceMeter(device, torch_readings) as meter:
        pass
    assert (meter.watts, meter.utilization) == (None, None)
