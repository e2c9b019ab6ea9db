"""A model's generation rules for a batch, as transformers' `generate` prepares them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class Rules:
    """Rules of groups of rows. A rule that looks at the tokens of a group looks at no padding in front of them.

    `groups` are (rows of the batch, columns of padding, transformers' logits processors), in the order of the rows.
    """

    def __init__(self, groups: Sequence[tuple[slice, int, Any]]) -> None:
        self._groups = groups

    def __bool__(self) -> bool:
        return any(bool(processors) for _, _, processors in self._groups)

    def __call__(self, sequences: Tensor, logits: Tensor) -> Tensor:
        """Return the logits, rows x vocabulary, that the rules make of these; `sequences` are rows x tokens."""
        parts = [processors(sequences[rows, start:], logits[rows]) for rows, start, processors in self._groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def equally_long(prompts: Sequence[list[int]]) -> Iterator[slice]:
    """Yield the runs of prompts with the same number of tokens."""
    first = 0
    for i in range(1, len(prompts) + 1):
        if i == len(prompts) or len(prompts[i]) != len(prompts[first]):
            yield slice(first, i)
            first = i
