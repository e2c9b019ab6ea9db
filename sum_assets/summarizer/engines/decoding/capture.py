"""Capture of decoding steps, so that the same operations can be launched at once."""

from collections.abc import Callable

import torch

#: Takes a step that works on the same tensors each time, and returns what replays it. It does not run the step.
CaptureStep = Callable[[Callable[[], None]], Callable[[], None]]


def capture_cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Capture a step as a CUDA graph, whose kernels are launched at once.

    As torch's notes on CUDA advise (CUDA semantics, CUDA Graphs). It has not run on real hardware.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
