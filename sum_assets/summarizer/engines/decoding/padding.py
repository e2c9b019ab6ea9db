"""Token ids as tensors, and masks for what pads them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: torch's memory-efficient kernel copies masks whose rows are no multiple of 16 numbers (`pad_bias` in its
#: aten/src/ATen/native/transformers/attention.cpp).
_ALIGNED = 16


def padded(rows: Sequence[list[int]], filler: int, *, left: bool, width: int = 0) -> tuple[Tensor, Tensor]:
    """Return token ids and mask, rows x tokens, as wide as the longest row or `width`."""
    width = max(width, *map(len, rows))
    ids = torch.full((len(rows), width), filler)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        columns = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, columns] = torch.tensor(row)
        mask[i, columns] = 1
    return ids, mask


def shared_prefix(prompts: Sequence[list[int]]) -> int:
    """Return how many first tokens all prompts have in common. The last token of each is never counted."""
    low, high = min(prompts), max(prompts)
    length = min(map(len, prompts)) - 1
    return next((i for i in range(length) if low[i] != high[i]), length)


def aligned(columns: int) -> int:
    """Return at least so many columns, of which a GPU's attention kernels take a mask without copying it."""
    return math.ceil(columns / _ALIGNED) * _ALIGNED


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what to add to attention scores, rows x 1 x 1 x tokens, from booleans, rows x tokens."""
    rows, tokens = visible.shape
    mask = torch.zeros(rows, 1, 1, aligned(tokens), dtype=dtype, device=visible.device)[..., :tokens]
    return mask.masked_fill_(~visible[:, None, None], torch.finfo(dtype).min)


def additive_mask_or_none(mask: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Return the additive mask; None where nothing is hidden."""
    return None if bool(mask.all()) else additive_mask(mask.bool(), dtype)


def first_rows(mask: Tensor, rows: list[int]) -> Tensor:
    """Move these rows of an additive mask to its front, and return them: a copy would not be aligned."""
    mask[: len(rows)] = mask[rows]
    return mask[: len(rows)]
