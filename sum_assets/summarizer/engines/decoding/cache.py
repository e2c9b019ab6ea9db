"""The KV cache: keys and values of each layer, allocated once for a batch and written in place."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import CacheLayerMixin, DynamicLayer


@dataclass
class CacheBlock:
    """Rows of the batch of about the same length, which share a piece of cache; `start` is their next column."""

    rows: int
    columns: int
    start: int = 0


@dataclass
class CacheCursor:
    """Where the next keys go: into all blocks, or during prefill into some rows of one block."""

    blocks: list[CacheBlock]
    #: Whether attention gets all columns, also those not written yet, which a mask hides. A matrix product on a CPU
    #: copies what is not contiguous.
    all_columns: bool
    #: The block and its rows that are prefilled.
    prefilling: tuple[int, slice] | None = None
    #: The next column as a tensor of one, on the device. A captured step would repeat a Python number.
    column: Tensor | None = None


class KVCacheLayer(CacheLayerMixin):
    """Keys and values of one layer: for each block, rows x key heads x columns x head size."""

    parts: list[tuple[Tensor, Tensor]]

    def __init__(self, cursor: CacheCursor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cursor = cursor

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate all blocks. They hold zeros, since what a mask hides must still be a number."""

        def zeros(states: Tensor, block: CacheBlock) -> Tensor:
            return states.new_zeros(block.rows, states.shape[1], block.columns, states.shape[3])

        self.parts = [(zeros(key_states, block), zeros(value_states, block)) for block in self._cursor.blocks]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write new columns and return the keys and values that attention sees; of several blocks, lists."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cursor = self._cursor
        if cursor.prefilling:
            return self._write(*cursor.prefilling, key_states, value_states, all_columns=False)
        visible, first = [], 0
        for i, block in enumerate(cursor.blocks):
            rows = slice(first, first + block.rows)
            written = self._write(
                i, slice(block.rows), key_states[rows], value_states[rows], all_columns=cursor.all_columns
            )
            visible.append(written)
            first += block.rows
        return visible[0] if len(visible) == 1 else ([keys for keys, _ in visible], [values for _, values in visible])

    def _write(
        self, i: int, rows: slice, key_states: Tensor, value_states: Tensor, *, all_columns: bool
    ) -> tuple[Tensor, Tensor]:
        """Write columns of some rows of block `i`, and return what attention sees of them."""
        keys, values = self.parts[i]
        block = self._cursor.blocks[i]
        if self._cursor.column is not None:
            keys[rows].index_copy_(2, self._cursor.column, key_states)
            values[rows].index_copy_(2, self._cursor.column, value_states)
            return keys[rows], values[rows]
        stop = block.start + key_states.shape[2]
        keys[rows, :, block.start : stop] = key_states
        values[rows, :, block.start : stop] = value_states
        visible = block.columns if all_columns else stop
        return keys[rows, :, :visible], values[rows, :, :visible]

    def copy_prefix(self, columns: int) -> None:
        """Copy the first columns of the first row to all rows."""
        for states in zip(*self.parts, strict=True):
            prefix = states[0][:1, :, :columns].clone()
            for part in states:
                part[:, :, :columns] = prefix

    def compact(self, i: int, rows: list[int]) -> None:
        """Move these rows of block `i` to its front."""
        block = self._cursor.blocks[i]
        for states in self.parts[i]:
            written = block.start if self._cursor.column is None else block.columns
            states[: len(rows), :, :written] = states[rows, :, :written]

    def get_seq_length(self) -> Any:
        """Return the next column. Models ask for it where there is one block, and take a tensor too."""
        return self._cursor.blocks[0].start if self._cursor.column is None else self._cursor.column[0]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return columns and offset of a mask."""
        return self._cursor.blocks[0].start + query_length, 0

    def get_max_length(self) -> int:
        """Return the number of columns."""
        return self._cursor.blocks[0].columns


class EncodedLayer(DynamicLayer):
    """Keys and values that a decoder's layer takes from the encoder: written once, whole."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep them in the order in which attention reads them."""
        self.keys, self.values = key_states.contiguous(), value_states.contiguous()
        self.is_initialized = True
        return self.keys, self.values

    def compact(self, rows: list[int]) -> None:
        """Move these rows to the front. A copy of them would need as much memory again."""
        assert self.keys is not None
        assert self.values is not None
        for states in (self.keys, self.values):
            states[: len(rows)] = states[rows]
        self.keys, self.values = self.keys[: len(rows)], self.values[: len(rows)]
