"""Samples a GPU's power and utilization while a cell runs, if its driver reports them."""

import threading
from collections.abc import Callable
from statistics import fmean
from types import TracebackType
from typing import Self

from sum_assets.summarizer.types import Device

INTERVAL = 0.25  # seconds


def torch_readings(index: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return functions that read watts and utilization, 0 to 1: through torch from NVML, or from amdsmi under ROCm.

    Source: torch.cuda.power_draw (milliwatts, mean of the driver's last period) and torch.cuda.utilization (percent).
    """
    import torch

    return (lambda: torch.cuda.power_draw(index) / 1000), (lambda: torch.cuda.utilization(index) / 100)


class DeviceMeter:
    """Averages over the time inside the `with` block; None, never zero, where there is no GPU or no reading."""

    def __init__(
        self,
        device: Device,
        readings: Callable[[int], tuple[Callable[[], float], Callable[[], float]]] = torch_readings,
    ) -> None:
        self._readers = readings(device.index or 0) if device.kind == "cuda" else ()
        self._samples: list[list[float]] = [[] for _ in self._readers]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self._readers:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._readers:
            self._thread.join()

    def _sample(self) -> None:
        while True:
            for reader, samples in zip(self._readers, self._samples, strict=True):
                # A driver, or a chip as old as a K80, that lacks a reading raises one of many types.
                try:
                    samples.append(reader())
                except Exception:
                    continue
            if self._ended.wait(INTERVAL):
                return

    @property
    def watts(self) -> float | None:
        """Mean power draw."""
        return self._mean(0)

    @property
    def utilization(self) -> float | None:
        """Mean share of time in which a kernel ran."""
        return self._mean(1)

    def _mean(self, reading: int) -> float | None:
        samples = self._samples[reading] if self._readers else []
        return fmean(samples) if samples else None
