"""Out of memory and a lost device are told apart, by type and by words."""

import subprocess
import sys

import pytest
import torch

from sum_assets.errors import WorkerError
from sum_assets.summarizer.device_errors import is_device_lost, is_out_of_memory


def test_lack_of_memory_is_no_lost_device() -> None:
    assert not is_device_lost(RuntimeError("CUDA error: out of memory"))
    assert not is_device_lost(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("on the device"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("not enough memory: you tried to allocate 8 bytes"),
        OSError("[Errno 12] Cannot allocate memory"),
        ImportError("libtorch.so: failed to map segment from shared object"),
        WorkerError("engine vllm: MemoryError: failed to allocate memory"),
    ],
)
def test_out_of_memory_is_recognized(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDACachingAllocator: CUDA error: an illegal memory access was encountered"),
        RuntimeError("size mismatch"),
    ],
)
def test_other_errors_are_not_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_errors_are_recognized_without_torch() -> None:
    code = "import sum_assets.summarizer.device_errors, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
