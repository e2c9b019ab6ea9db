"""Decoding of causal models: prompt and generated tokens share one KV cache."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sum_assets.summarizer.engines.decoding.cache import CacheBlock
from sum_assets.summarizer.engines.decoding.capture import CAPTURED_COLUMNS, CaptureStep
from sum_assets.summarizer.engines.decoding.padding import additive_mask, first_rows, padded, shared_prefix
from sum_assets.summarizer.engines.decoding.state import DecodeState

#: Rows that share a piece of cache, as wide as the longest of them needs: no row attends to many empty columns.
#: On other devices a kernel does best with all rows at once.
BLOCK_ROWS = {"cpu": 16}


class CausalState(DecodeState):
    """Columns of a block of the cache, for a prompt shorter than its longest:

        shared prefix | rest of the prompt | gap, hidden by the mask | generated tokens

    The shared prefix is read once for the batch.
    """  # fmt: skip

    def __init__(
        self,
        model: Any,
        prompts: Sequence[list[int]],
        max_new_tokens: int,
        chunk_tokens: int,
        capture: CaptureStep | None,
    ) -> None:
        n, lengths = len(prompts), [len(prompt) for prompt in prompts]
        size = n if capture else BLOCK_ROWS.get(model.device.type, n)
        parts = [lengths[i : i + size] for i in range(0, n, size)]
        widths = [max(part) + max_new_tokens for part in parts]
        unused = [-width % CAPTURED_COLUMNS if capture else 0 for width in widths]
        blocks = [CacheBlock(len(p), w + u) for p, w, u in zip(parts, widths, unused, strict=True)]
        super().__init__(model, blocks, capture)
        last_states = self._prefill_all(prompts, size, chunk_tokens)
        for block in blocks:
            block.start = block.columns - max_new_tokens
        self.logits = model.lm_head(last_states)
        columns = max(block.columns for block in blocks)
        # Rows x 1: the position of each row's next token, which is not its column where there is a gap.
        self._positions = torch.tensor(lengths, device=model.device)[:, None]
        # Rows x 1 x 1 x columns.
        self._mask = additive_mask(torch.arange(columns, device=model.device) < self._positions, model.dtype)
        # Rows: the column of each row's next token.
        self._next = torch.tensor([block.start for block in blocks for _ in range(block.rows)], device=model.device)
        self._cursor.column = self._next[:1] if capture else None

    def _prefill_all(self, prompts: Sequence[list[int]], size: int, chunk_tokens: int) -> Tensor:
        """Write all prompts, some rows at a time, and return the state after each one's last token, rows x size."""
        blocks = self._cursor.blocks
        shared = shared_prefix(prompts) if len(prompts) > 1 else 0
        if shared:
            self._cursor.prefilling = 0, slice(0, 1)
            self._prefill([prompts[0][:shared]])
            for layer in self._kv_cache.layers:
                layer.copy_prefix(shared)
        chunks = []
        for i, block in enumerate(blocks):
            block.start, first = shared, 0
            block_prompts = prompts[i * size :][: block.rows]
            while first < block.rows:
                rows = block_prompts[first:][: max(1, chunk_tokens // (len(block_prompts[first]) - shared))]
                self._cursor.prefilling = i, slice(first, first + len(rows))
                chunks.append(self._prefill([prompt[shared:] for prompt in rows]))
                first += len(rows)
        self._cursor.prefilling = None
        return torch.cat(chunks)

    def _prefill(self, prompts: Sequence[list[int]]) -> Tensor:
        """Write prompts, padded at the end, and return the state after each one's last token, rows x size."""
        assert self._cursor.prefilling
        device, start = self._model.device, self._cursor.blocks[self._cursor.prefilling[0]].start
        ids, _ = padded(prompts, 0, left=False)
        positions = torch.arange(start, start + ids.shape[1], device=device)[None]
        states = self._states(ids.to(device), positions, None)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
        return states[torch.arange(len(prompts), device=device), last]

    def _states(self, ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Return the last layer's output, rows x tokens x size."""
        states: Tensor = self._model.base_model(
            input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=self._kv_cache, use_cache=True
        ).last_hidden_state
        return states

    def _advance(self) -> None:
        assert self._tokens is not None
        self._mask[:, 0, 0].scatter_(1, self._next[:, None], 0)
        blocks = self._cursor.blocks
        visible = max(block.columns for block in blocks) if self._cursor.all_columns else blocks[0].start + 1
        states = self._states(self._tokens[:, None], self._positions, self._mask[..., :visible])
        self.logits = self._model.lm_head(states[:, -1])
        for block in blocks:
            block.start += 1
        self._positions.add_(1)
        self._next.add_(1)

    def compact(self, rows: list[int]) -> None:
        """Go on with these rows alone."""
        super().compact(rows)
        self._positions, self._next = self._positions[rows], self._next[rows]
        self._mask = first_rows(self._mask, rows)
        self._cursor.column = self._next[:1] if self._capture else None
