"""Linear layers whose weights are packed for oneDNN, on a CPU."""

from typing import Any

import torch


class _PackedLinear(torch.nn.Module):
    """A linear layer whose weight has the memory order in which oneDNN multiplies.

    Otherwise each product would reorder the weight first.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = linear.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply; rows is ... x inputs, and the result ... x outputs."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return product


def pack_linear_layers(model: Any) -> None:
    """Pack the linear layers of a model on a CPU, except the last: it often shares the weight of the embeddings."""
    usable = {torch.float32, torch.bfloat16} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else {torch.float32}
    for name, module in list(model.named_modules()):
        # Quantized layers are linear layers of another class, or have weights of another class.
        plain = type(module) is torch.nn.Linear and type(module.weight) is torch.nn.Parameter
        if plain and module.weight.dtype in usable and module is not model.lm_head:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _PackedLinear(module))
