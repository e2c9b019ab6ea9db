"""Layers that transformers computes with several kernels, and torch with one."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm
from transformers.activations import NewGELUActivation

#: Norms that divide by the root of the mean of squares and multiply by a weight; Gemma's multiplies by 1 + weight.
_RMS_NORMS = frozenset(
    {"T5LayerNorm", "MT5LayerNorm", "LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"}
)


class _FusedRMSNorm(torch.nn.Module):
    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self._epsilon = norm.weight, norm.variance_epsilon

    def forward(self, states: Tensor) -> Tensor:
        """Normalize; states are ... x size, and of more bits than the weight where a layer is kept in float32."""
        weight = self.weight
        return rms_norm(states, weight.shape, weight.to(states.dtype), self._epsilon).to(weight.dtype)


def fuse_layers(model: Any) -> None:
    """Have a model compute its norms on a GPU and its activations with torch's kernels.

    On an H200, a norm of 21,120 x 1,024 values in bfloat16 takes 33 µs rather than 332. On a CPU, torch's norm is no
    faster (docs/evidence/gpu.md).
    """
    for name, module in list(model.named_modules()):
        fused: torch.nn.Module
        if isinstance(module, NewGELUActivation):
            fused = torch.nn.GELU(approximate="tanh")
        elif type(module).__name__ in _RMS_NORMS and model.device.type == "cuda":
            fused = _FusedRMSNorm(module)
        else:
            continue
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, fused)
