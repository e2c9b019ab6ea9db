"""Capture of decoding steps, so that the same operations can be launched at once."""

from collections.abc import Callable

import torch

from sum_assets.errors import UserError, first_line
from sum_assets.summarizer.device_errors import is_out_of_memory

#: Takes a step that works on the same tensors each time, and returns what replays it. It does not run the step.
CaptureStep = Callable[[Callable[[], None]], Callable[[], None]]


#: Caches of captured steps are as wide as a multiple of so many columns.
CAPTURED_COLUMNS = 64


def capture_cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Capture a step as a CUDA graph, whose kernels are launched at once.

    As torch's notes on CUDA advise (CUDA semantics, CUDA Graphs). The current device
    must be that of the step. Raises what the step raises by itself where memory runs out, and UserError where it
    cannot be captured.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        torch.cuda.set_stream(stream)  # a capture that fails may leave its own
        cause = error.__context__ or error  # what ended the step, rather than the capture
        if is_out_of_memory(cause):
            raise cause from None
        # Where memory runs out, torch may say no more than that the capture is broken, as if the device were lost
        # (https://github.com/pytorch/pytorch/issues/159594). Outside of a capture, the step says what it lacks.
        step()
        raise UserError(f"cuda_graphs: a step cannot be captured: {first_line(cause)}. Leave it out.") from error
    return graph.replay
