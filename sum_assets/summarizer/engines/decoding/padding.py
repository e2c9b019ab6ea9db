"""Token ids as tensors, and masks for what pads them."""

from collections.abc import Sequence

import torch
from torch import Tensor


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


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what to add to attention scores, rows x 1 x 1 x tokens, from booleans, rows x tokens."""
    return torch.where(visible, 0.0, torch.finfo(dtype).min).to(dtype)[:, None, None]


def additive_mask_or_none(mask: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Return the additive mask; None where nothing is hidden."""
    return None if bool(mask.all()) else additive_mask(mask.bool(), dtype)
