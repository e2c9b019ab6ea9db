"""Tells models that compute NaN apart from rows that nothing can be written on."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import LogitsProcessor

from sum_assets.errors import UserError
from sum_assets.summarizer.checked_weights import listed
from sum_assets.summarizer.model_files import weights_folder
from sum_assets.summarizer.model_settings import ModelSettings


class FiniteLogits(LogitsProcessor):
    """Notes in which rows logits are finite; it changes none."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Note whether the largest logit of each row, or of each beam of each row, is finite: NaN is the largest."""
        self._steps.append(scores.amax(-1).isfinite())
        return scores

    def rows(self, lengths: Sequence[int]) -> list[bool]:
        """Return whether all logits of each row were finite, up to its length in tokens. Later ones pad it."""
        steps = torch.stack(self._steps, 1).view(len(lengths), -1, len(self._steps)).all(1).cpu()
        return [bool(row[:length].all()) for row, length in zip(steps, lengths, strict=True)]


def describe_not_a_number(resolved: ModelSettings) -> str:
    """Return what the model does, and what to do about it."""
    what = f"its logits are NaN or infinite in {resolved.precision}"
    if resolved.quantization != "none":
        return f"{what} with quantization {resolved.quantization}. Set quantization: none"
    if resolved.precision == "float16":
        return f"{what}. Set precision: bfloat16, or float32 where the device lacks it"
    if resolved.precision == "bfloat16":
        return f"{what}. Set precision: float32"
    tensors = not_finite_tensors(weights_folder(resolved.files))
    if tensors:
        return f"{what}: the checkpoint holds NaN or infinity in {listed(tensors)}. Download or train it again"
    return f"{what}, although all of its weights are finite. Name another checkpoint"


def require_finite_weights(resolved: ModelSettings) -> None:
    """Raise UserError where a checkpoint holds NaN or infinity, for an engine that does not say so of a text."""
    tensors = not_finite_tensors(weights_folder(resolved.files))
    if tensors:
        raise UserError(
            f"model: the checkpoint of {resolved.settings.model} holds NaN or infinity in {listed(tensors)}, and "
            f"engine {resolved.engine} would write text all the same. Download or train it again."
        )


@cache
def not_finite_tensors(folder: Path) -> tuple[str, ...]:
    """Return the names of the tensors of a checkpoint that hold NaN or infinity. It reads all of it, once."""
    names = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            names += [name for name in tensors.keys() if not _finite(tensors.get_tensor(name))]  # noqa: SIM118
    if not names:
        for file in sorted(folder.glob("pytorch_model*.bin")):
            weights = torch.load(file, mmap=True, weights_only=True)
            names += [name for name, tensor in weights.items() if not _finite(tensor)]
    return tuple(names)


def _finite(tensor: Any) -> bool:
    return not torch.is_floating_point(tensor) or bool(tensor.float().sum().isfinite() or tensor.isfinite().all())
