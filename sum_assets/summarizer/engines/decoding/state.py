"""A batch between two decoding steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

from sum_assets.summarizer.engines.decoding.attention import for_new_shapes
from sum_assets.summarizer.engines.decoding.cache import CacheBlock, CacheCursor, KVCacheLayer
from sum_assets.summarizer.engines.decoding.capture import CaptureStep


class DecodeState:
    """A batch whose inputs were read (prefill): it gives the next logits and takes the next tokens."""

    #: Rows x vocabulary.
    logits: Tensor

    def __init__(self, model: Any, blocks: list[CacheBlock], capture: CaptureStep | None) -> None:
        self._model, self._capture = model, capture
        self._cursor = CacheCursor(blocks, all_columns=model.device.type == "cpu" or capture is not None)
        new_layer: Any = partial(KVCacheLayer, self._cursor)
        #: The KV cache of self-attention; its layers are made as the model first writes to them.
        self._kv_cache: Any = Cache(layer_class_to_replicate=new_layer)
        self._tokens: Tensor | None = None
        self._replay: Callable[[], None] | None = None

    def step(self, tokens: Tensor) -> None:
        """Take one token per row. The first step of so many rows is never captured: in it, libraries get ready."""
        if self._capture is None:
            self._tokens = tokens
            with for_new_shapes():
                self._advance()
        elif self._tokens is None:
            self._tokens = tokens
            self._advance()
        else:
            self._tokens.copy_(tokens)
            self._replay = self._replay or self._capture(self._advance)
            self._replay()

    def _advance(self) -> None:
        """Take `_tokens`. Where steps are captured, tensors are changed in place only."""
        raise NotImplementedError

    def compact(self, rows: list[int]) -> None:
        """Go on with these rows alone, in ascending order: move them to the front of the KV cache."""
        self._tokens = self._replay = None
        first, blocks, kept = 0, self._cursor.blocks, []
        for i, block in enumerate(blocks):
            block_rows = [row - first for row in rows if first <= row < first + block.rows]
            first, block.rows = first + block.rows, len(block_rows)
            kept += [i] if block_rows else []
            for layer in self._kv_cache.layers:
                layer.compact(i, block_rows)
        self._cursor.blocks = [blocks[i] for i in kept]
        for layer in self._kv_cache.layers:
            layer.parts = [layer.parts[i] for i in kept]
