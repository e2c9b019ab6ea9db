"""Decoding of sequence-to-sequence models: the input is encoded once, and the decoder begins with a start token."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from sum_assets.summarizer.engines.decoding.cache import CacheBlock, EncodedLayer
from sum_assets.summarizer.engines.decoding.capture import CaptureStep
from sum_assets.summarizer.engines.decoding.padding import additive_mask, additive_mask_or_none, first_rows
from sum_assets.summarizer.engines.decoding.state import DecodeState


def encode(model: Any, ids: Tensor, mask: Tensor, chunk_tokens: int) -> Tensor:
    """Return the encoder's states, rows x tokens x size, with zeros where there is no input.

    `ids` and `mask` are rows x tokens, longest first. About `chunk_tokens` tokens are read at once.
    """
    lengths = mask.sum(1).tolist()
    encoder, first = model.get_encoder(), 0
    states: Tensor | None = None
    while first < len(ids):
        last = first + max(1, chunk_tokens // lengths[first])
        width = max(lengths[first:last])
        chunk: Tensor = encoder(
            input_ids=ids[first:last, :width],
            attention_mask=additive_mask_or_none(mask[first:last, :width], model.dtype),
        ).last_hidden_state
        if states is None:
            states = chunk.new_zeros(*ids.shape, chunk.shape[2])
        states[first:last, :width] = chunk
        first = last
    assert states is not None
    return states


class Seq2SeqState(DecodeState):
    """`encoded` is rows x input tokens x size, `mask` rows x 1 x 1 x input tokens, `start` rows."""

    def __init__(
        self,
        model: Any,
        encoded: Tensor,
        mask: Tensor | None,
        start: Tensor,
        max_new_tokens: int,
        capture: CaptureStep | None,
    ) -> None:
        columns = 1 + max_new_tokens
        super().__init__(model, [CacheBlock(len(encoded), columns)], capture)
        self._encoded, self._mask = encoded, mask
        unwritten = torch.zeros(1, columns, dtype=torch.bool, device=model.device)
        # 1 x 1 x 1 x columns: hides the columns of self-attention that are not written yet.
        self._decoder_mask = additive_mask(unwritten, model.dtype) if self._cursor.all_columns else None
        self._caches: Any = EncoderDecoderCache(self._kv_cache, Cache(layer_class_to_replicate=EncodedLayer))
        self._next = torch.zeros(1, dtype=torch.long, device=model.device)
        self._cursor.column = self._next if capture else None
        self.step(start)

    def _advance(self) -> None:
        assert self._tokens is not None
        (block,) = self._cursor.blocks
        if self._decoder_mask is not None:
            self._decoder_mask.index_fill_(3, self._next, 0)
        self.logits = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._encoded),
            attention_mask=self._mask,
            decoder_input_ids=self._tokens[:, None],
            decoder_attention_mask=self._decoder_mask,
            past_key_values=self._caches,
            use_cache=True,
        ).logits[:, -1]
        block.start += 1
        self._next.add_(1)

    def compact(self, rows: list[int]) -> None:
        """Go on with these rows alone, in the cross-attention cache too."""
        super().compact(rows)
        for layer in self._caches.cross_attention_cache.layers:
            layer.compact(rows)
        self._encoded = self._encoded[rows]
        self._mask = None if self._mask is None else first_rows(self._mask, rows)
