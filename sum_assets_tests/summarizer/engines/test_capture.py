"""What is done on a CUDA device that is not here: which one is current, and what a failed capture means."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sum_assets.errors import UserError
from sum_assets.summarizer import GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.engines.decoding import capture_cuda_graph
from sum_assets.summarizer.engines.load_model import load_model
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import Device

BROKEN = "CUDA error: operation failed due to a previous error during capture"
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


def test_the_device_of_a_model_becomes_the_current_one(t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = resolve_settings(GpuSettings(device="cpu"), SummarizerSettings(model=str(t5), prompt=""))
    assert isinstance(resolved, ModelSettings)
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    load_model(resolved)
    assert current == []
    if torch.cuda.device_count() < 2:
        with pytest.raises((AssertionError, RuntimeError)):  # torch says that there is no such device
            load_model(replace(resolved, device=Device("cuda", 1, "A100", (8, 0), True, 2**30)))
        assert current == [1]


class Step:
    """A step that raises the first errors, one in each call, and counts its calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Captures that end as torch's do after an error in the step; a list with an error that ends one."""
    endings: list[str] = []

    @contextmanager
    def graph(_: Any) -> Iterator[None]:
        try:
            yield
        finally:
            if endings:
                raise RuntimeError(endings.pop())

    for name, value in {
        "graph": graph,
        "CUDAGraph": lambda: None,
        "current_stream": lambda: "the default stream",
        "set_stream": lambda stream: streams.append(stream),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    streams: list[str] = []
    return endings


def test_a_capture_that_lacks_memory_says_so_and_not_that_the_device_is_lost(graphs: list[str]) -> None:
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        capture_cuda_graph(Step(torch.OutOfMemoryError(FULL)))
    graphs.append(BROKEN)  # and so does the end of the capture
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        capture_cuda_graph(Step(torch.OutOfMemoryError(FULL)))
    graphs.append(BROKEN)
    step = Step(RuntimeError(BROKEN), torch.OutOfMemoryError(FULL))
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        capture_cuda_graph(step)
    assert step.calls == 2


def test_a_step_that_cannot_be_captured_says_what_to_do(graphs: list[str]) -> None:
    graphs.append(BROKEN)
    with pytest.raises(UserError, match=r"a step cannot be captured: CUDA error: .* is capturing\. Leave it out\."):
        capture_cuda_graph(Step(RuntimeError("CUDA error: operation not permitted when stream is capturing")))
