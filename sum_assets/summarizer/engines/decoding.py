"""Greedy decoding of a batch on transformers' models, without what makes `generate` slow.

`generate` joins the whole cache anew for each token and layer, reads a prompt that all inputs share once for
each, computes rows that have ended until the last one has, and pads inputs in front, so that attention needs
a mask. Here the cache is written in place, the shared prompt is read once, inputs are read some at a time and
decoded all together, and ended rows are dropped; on a CPU, weights are packed. `generate` still prepares the
model's own rules for generation (`custom_generate` in its documentation), which hold here too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

#: The name under which transformers finds `_attend`. It makes no masks for it: those it needs are given.
ATTENTION = "sum_assets"
#: Model families whose texts were compared with those of `generate`.
FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "t5", "mt5", "bart", "mbart", "pegasus"})
#: Tokens read at once. A CPU is busy with one input, and then no padding is read.
_PIECE = {"cpu": 1}
#: Rows that share a piece of cache, as wide as the longest of them needs: no row attends to much that is empty.
#: Elsewhere a kernel does best with all at once.
_BLOCK_ROWS = {"cpu": 16}
#: Queries that attend together on a CPU: what they need stays in its cache.
_BLOCK = 128
#: Rows are dropped when so many of those in the cache have ended: dropping copies those that go on. Where steps are
#: recorded, it costs a recording too.
_DROP, _DROP_RECORDED = 1 / 8, 1 / 2
#: Takes a step that works on the same tensors each time, and returns what repeats it; the step itself is not taken.
Record = Callable[[Callable[[], None]], Callable[[], None]]


def _attend(
    module: Any,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend; without a mask, each query of a causal layer sees the keys up to its own.

    Shapes are rows x heads x tokens x head size. There may be more keys than queries, which are the last then,
    and fewer heads of keys than of queries, which share them. Lists have a part for each block of rows.
    """
    if isinstance(key, list):
        assert attention_mask is not None
        sizes, split = [len(rows) for rows in key], cast(Any, torch.split)
        parts = zip(split(query, sizes), key, value, split(attention_mask, sizes), strict=True)
        blocks = [_attend_on_cpu(q, k, v, mask[..., : k.shape[2]], scaling, False) for q, k, v, mask in parts]
        return torch.cat(blocks).transpose(1, 2), None
    length = query.shape[2]
    causal = attention_mask is None and length > 1 and module.is_causal
    if position_bias is not None:
        attention_mask = position_bias if attention_mask is None else position_bias + attention_mask
    if query.device.type == "cpu":
        output = _attend_on_cpu(query, key, value, attention_mask, scaling, causal)
    else:
        output = _attend_fused(query, key, value, attention_mask, scaling, causal)
    return output.transpose(1, 2).contiguous(), None


def _attend_fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    causal: bool,
) -> torch.Tensor:
    """Leave it to torch's kernel, keys repeated only where there are several queries."""
    rows, heads, length, size = query.shape
    groups = heads // key.shape[1]
    if groups > 1 and length == 1 and (mask is None or mask.shape[1] == 1):
        query = query.reshape(rows, key.shape[1], groups, size)
    elif groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    before = key.shape[2] - length if causal else 0
    if before:  # the kernel aligns queries with the first keys
        query = pad(query, (0, 0, before, 0))
    output = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, scale=scaling)
    return output[:, :, before:].reshape(rows, heads, length, -1)


def _attend_on_cpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    causal: bool,
) -> torch.Tensor:
    """Multiply matrices block by block, which here takes half of the time of torch's own kernel for CPUs.

    A block of queries leaves out the keys after it. Keys stand on the left of a product with one query each:
    on the right, oneDNN copies them.
    """
    rows, heads, length, size = query.shape
    groups, keys = heads // key.shape[1], key.shape[2]
    query = (query * (size**-0.5 if scaling is None else scaling)).reshape(rows * key.shape[1], groups, length, size)
    key, value = key.flatten(0, 1), value.flatten(0, 1)
    output = query.new_empty(*query.shape[:3], value.shape[2])
    for first in range(0, length, _BLOCK):
        last = min(first + _BLOCK, length)
        seen = keys - length + last if causal else keys
        block = query[:, :, first:last].flatten(1, 2)
        if length == 1:
            scores = torch.bmm(key, block.transpose(1, 2)).transpose(1, 2)
        else:
            scores = torch.bmm(block, key[:, :seen].transpose(1, 2))
        scores = scores.reshape(rows, heads, last - first, seen)
        if mask is not None:
            scores = scores + mask[:, :, first:last] if mask.shape[2] > 1 else scores + mask
        elif causal:
            scores[..., first - last :] += _after(last - first, scores.dtype)
        shares = scores.softmax(-1).view(len(key), -1, seen)
        output[:, :, first:last] = torch.bmm(shares, value[:, :seen]).view(-1, groups, last - first, value.shape[2])
    return output.view(rows, heads, length, -1)


@cache
def _after(length: int, dtype: torch.dtype) -> torch.Tensor:
    """Return what to add to scores, queries x keys, so that none sees a key after its own."""
    return torch.full((length, length), float("-inf"), dtype=dtype).triu(1)


AttentionInterface.register(ATTENTION, _attend)


@dataclass
class _Block:
    """Rows of the batch that share a piece of cache, since they are about as long; the column of their next keys."""

    rows: int
    columns: int
    start: int = 0


@dataclass
class _Place:
    """Where the next keys go: into all blocks, or while prompts are read into these rows of one."""

    blocks: list[_Block]
    #: Whether attention gets all columns, those not written yet too: a mask hides them. A product of matrices on a
    #: CPU copies what does not lie in one piece.
    whole: bool
    reading: tuple[int, slice] | None = None
    #: The column as a tensor of one, on the device: where steps are recorded, a number would be recorded with them.
    column: torch.Tensor | None = None


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, for each block rows x heads x columns x head size, written in place."""

    parts: list[tuple[torch.Tensor, torch.Tensor]]

    def __init__(self, place: _Place) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._place = place

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for all rows. Zeros, since what a mask hides must still be a number."""

        def zeros(states: torch.Tensor, block: _Block) -> torch.Tensor:
            return states.new_zeros(block.rows, states.shape[1], block.columns, states.shape[3])

        self.parts = [(zeros(key_states, block), zeros(value_states, block)) for block in self._place.blocks]
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write new columns, and return what attention is to see: of several blocks, lists."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        place = self._place
        if place.reading:
            return self._write(*place.reading, key_states, value_states, whole=False)
        seen, first = [], 0
        for i, block in enumerate(place.blocks):
            rows = slice(first, first + block.rows)
            seen.append(self._write(i, slice(block.rows), key_states[rows], value_states[rows], whole=place.whole))
            first += block.rows
        return seen[0] if len(seen) == 1 else ([keys for keys, _ in seen], [values for _, values in seen])

    def _write(
        self, i: int, rows: slice, key_states: torch.Tensor, value_states: torch.Tensor, *, whole: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.parts[i]
        block = self._place.blocks[i]
        if self._place.column is not None:
            keys[rows].index_copy_(2, self._place.column, key_states)
            values[rows].index_copy_(2, self._place.column, value_states)
            return keys[rows], values[rows]
        stop = block.start + key_states.shape[2]
        keys[rows, :, block.start : stop] = key_states
        values[rows, :, block.start : stop] = value_states
        seen = block.columns if whole else stop
        return keys[rows, :, :seen], values[rows, :, :seen]

    def get_seq_length(self) -> Any:
        """Return the columns before the next; models ask for it where there is one block, and take a tensor too."""
        return self._place.blocks[0].start if self._place.column is None else self._place.column[0]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return columns and offset of a mask."""
        return self._place.blocks[0].start + query_length, 0

    def get_max_length(self) -> int:
        """Return the columns there are."""
        return self._place.blocks[0].columns


class _Started:
    """A batch whose inputs were read: it gives the next logits, and lets rows go."""

    logits: torch.Tensor

    def __init__(self, model: Any, blocks: list[_Block], record: Record | None) -> None:
        self._model, self._record = model, record
        self._place = _Place(blocks, whole=model.device.type == "cpu" or record is not None)
        new_layer: Any = partial(_Layer, self._place)
        self._own: Any = Cache(layer_class_to_replicate=new_layer)
        self._tokens: torch.Tensor | None = None
        self._repeat: Callable[[], None] | None = None

    def step(self, tokens: torch.Tensor) -> None:
        """Take one token per row. The first step of so many rows is never recorded: in it, libraries get ready."""
        if self._record is None or self._tokens is None:
            self._tokens = tokens
            self._advance()
        else:
            self._tokens.copy_(tokens)
            self._repeat = self._repeat or self._record(self._advance)
            self._repeat()

    def _advance(self) -> None:
        """Take `_tokens`, changing tensors in place alone where steps are recorded."""
        raise NotImplementedError

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows alone."""
        self._tokens = self._repeat = None
        first, blocks, kept = 0, self._place.blocks, []
        for i, block in enumerate(blocks):
            mine = [row - first for row in rows if first <= row < first + block.rows]
            first, block.rows = first + block.rows, len(mine)
            kept += [i] if mine else []
            for layer in self._own.layers:
                for states in layer.parts[i]:
                    written = block.start if self._place.column is None else block.columns
                    states[: len(mine), :, :written] = states[mine, :, :written]
        self._place.blocks = [blocks[i] for i in kept]
        for layer in self._own.layers:
            layer.parts = [layer.parts[i] for i in kept]


class _Causal(_Started):
    """Prompt and what is written stand in one cache, with a gap after prompts shorter than the longest of a block."""

    def __init__(
        self, model: Any, prompts: Sequence[list[int]], room: int, piece_tokens: int, record: Record | None
    ) -> None:
        n, lengths = len(prompts), [len(prompt) for prompt in prompts]
        size = n if record else _BLOCK_ROWS.get(model.device.type, n)
        blocks = [_Block(len(part), max(part) + room) for part in (lengths[i : i + size] for i in range(0, n, size))]
        super().__init__(model, blocks, record)
        shared = _shared(prompts) if n > 1 else 0
        if shared:
            self._place.reading = 0, slice(0, 1)
            self._read([prompts[0][:shared]])
            for layer in self._own.layers:
                for states in zip(*layer.parts, strict=True):
                    read = states[0][:1, :, :shared].clone()
                    for part in states:
                        part[:, :, :shared] = read
        pieces = []
        for i, block in enumerate(blocks):
            block.start, first = shared, 0
            mine = prompts[i * size :][: block.rows]
            while first < block.rows:
                rows = mine[first:][: max(1, piece_tokens // (len(mine[first]) - shared))]
                self._place.reading = i, slice(first, first + len(rows))
                pieces.append(self._read([prompt[shared:] for prompt in rows]))
                first += len(rows)
            block.start = block.columns - room
        self._place.reading = None
        self.logits = model.lm_head(torch.cat(pieces))
        self._positions = torch.tensor(lengths, device=model.device)[:, None]
        columns = max(block.columns for block in blocks)
        self._mask = _scores(torch.arange(columns, device=model.device) < self._positions, model.dtype)
        self._next = torch.tensor([block.start for block in blocks for _ in range(block.rows)], device=model.device)
        self._place.column = self._next[:1] if record else None

    def _read(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Write prompts into the cache, which pads them at the end; return the state after each one's last token."""
        assert self._place.reading
        device, start = self._model.device, self._place.blocks[self._place.reading[0]].start
        ids, _ = padded(prompts, 0, left=False)
        positions = torch.arange(start, start + ids.shape[1], device=device)[None]
        states = self._states(ids.to(device), positions, None)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
        return states[torch.arange(len(prompts), device=device), last]

    def _states(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return what the last layer says, rows x tokens x size."""
        states: torch.Tensor = self._model.base_model(
            input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=self._own, use_cache=True
        ).last_hidden_state
        return states

    def _advance(self) -> None:
        assert self._tokens is not None
        self._mask[:, 0, 0].scatter_(1, self._next[:, None], 0)
        blocks = self._place.blocks
        seen = max(block.columns for block in blocks) if self._place.whole else blocks[0].start + 1
        states = self._states(self._tokens[:, None], self._positions, self._mask[..., :seen])
        self.logits = self._model.lm_head(states[:, -1])
        for block in blocks:
            block.start += 1
        self._positions.add_(1)
        self._next.add_(1)

    def keep(self, rows: list[int]) -> None:
        super().keep(rows)
        self._positions, self._mask, self._next = self._positions[rows], self._mask[rows], self._next[rows]
        self._place.column = self._next[:1] if self._record else None


class _Seq2Seq(_Started):
    """The input is encoded; the decoder starts with a token of its own."""

    def __init__(
        self,
        model: Any,
        hidden: torch.Tensor,
        mask: torch.Tensor | None,
        start: torch.Tensor,
        room: int,
        record: Record | None,
    ) -> None:
        super().__init__(model, [_Block(len(hidden), 1 + room)], record)
        self._hidden, self._mask = hidden, mask
        unwritten = torch.zeros(1, 1 + room, dtype=torch.bool, device=model.device)
        self._own_mask = _scores(unwritten, model.dtype) if self._place.whole else None
        self._cache: Any = EncoderDecoderCache(self._own, DynamicCache())
        self._next = torch.zeros(1, dtype=torch.long, device=model.device)
        self._place.column = self._next if record else None
        self.step(start)

    def _advance(self) -> None:
        assert self._tokens is not None
        (block,) = self._place.blocks
        if self._own_mask is not None:
            self._own_mask.index_fill_(3, self._next, 0)
        self.logits = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden),
            attention_mask=self._mask,
            decoder_input_ids=self._tokens[:, None],
            decoder_attention_mask=self._own_mask,
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        block.start += 1
        self._next.add_(1)

    def keep(self, rows: list[int]) -> None:
        super().keep(rows)
        for layer in self._cache.cross_attention_cache.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        self._hidden = self._hidden[rows]
        self._mask = None if self._mask is None else self._mask[rows]


def can_decode(model: Any) -> bool:
    """Return whether a model is of a family that was tried, decodes greedily and sees all of its input."""
    config, own = model.config, model.generation_config
    longest = getattr(config, "max_position_embeddings", None) or 0
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    sees_all = set(layers) == {"full_attention"} or (window is not None and window >= longest)
    return config.model_type in FAMILIES and own.num_beams == 1 and sees_all


def can_record(model: Any) -> bool:
    """Return whether steps can be recorded: none of these rotations looks at how long the longest input is."""
    rope = getattr(model.config, "rope_parameters", None) or {}
    return can_decode(model) and rope.get("rope_type", "default") in ("default", "linear", "llama3", "yarn")


def record_cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Record a step as a CUDA graph, whose kernels are launched at once.

    As torch's notes on CUDA advise (CUDA semantics, CUDA Graphs). It has not run on real hardware.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class _PackedLinear(torch.nn.Module):
    """A linear layer whose weight lies in the order in which oneDNN multiplies: else each product reorders it first."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = linear.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return product


def _pack(model: Any) -> None:
    """Pack the linear layers of a model on a CPU, but for the last: its weight is often that of the embeddings."""
    usable = {torch.float32, torch.bfloat16} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else {torch.float32}
    for name, module in list(model.named_modules()):
        # Quantized layers are linear layers of another class, or have weights of another class.
        plain = type(module) is torch.nn.Linear and type(module.weight) is torch.nn.Parameter
        if plain and module.weight.dtype in usable and module is not model.lm_head:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _PackedLinear(module))


class Decoder:
    """Decodes batches of one model, which it sets to its own attention; with `record`, steps are recorded."""

    def __init__(self, model: Any, record: Record | None = None) -> None:
        self._model, self._record = model, record
        self._piece_tokens = _PIECE.get(model.device.type, 16_384)
        self._stops = frozenset(torch.as_tensor(model.generation_config.eos_token_id).flatten().tolist())
        model.set_attn_implementation(ATTENTION)
        if model.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            _pack(model)

    def __call__(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """Return what the model writes on each prompt, stop token included. Longest first is fastest."""
        seq2seq, device = self._model.config.is_encoder_decoder, self._model.device
        room = self._model.generation_config.max_new_tokens
        ids, mask = padded(prompts, self._model.generation_config.pad_token_id, left=not seq2seq)
        ids, mask = ids.to(device), mask.to(device)
        outputs: list[list[int]] = []
        given: dict[str, Any] = {}

        def decode(_: Any, input_ids: torch.Tensor, logits_processor: Any, **__: Any) -> torch.Tensor:
            started: _Started
            if seq2seq:
                hidden = given["encoder_outputs"].last_hidden_state
                seen, start = _visible(mask, self._model.dtype), input_ids[:, -1].clone()
                started = _Seq2Seq(self._model, hidden, seen, start, room, self._record)
            else:
                started = _Causal(self._model, prompts, room, self._piece_tokens, self._record)
            outputs.extend(self._write(started, input_ids, logits_processor, room))
            return input_ids

        with torch.inference_mode():
            if seq2seq:
                given["encoder_outputs"] = BaseModelOutput(last_hidden_state=self._encode(ids, mask))
            self._model.generate(input_ids=ids, attention_mask=mask, custom_generate=decode, **given)
        return outputs

    def _encode(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the encoder's states, rows x tokens x size, with zeros where there is no input."""
        lengths = mask.sum(1).tolist()
        encoder, first = self._model.get_encoder(), 0
        states: torch.Tensor | None = None
        while first < len(ids):
            last = first + max(1, self._piece_tokens // lengths[first])
            width = max(lengths[first:last])
            piece: torch.Tensor = encoder(
                input_ids=ids[first:last, :width],
                attention_mask=_visible(mask[first:last, :width], self._model.dtype),
            ).last_hidden_state
            if states is None:
                states = piece.new_zeros(*ids.shape, piece.shape[2])
            states[first:last, :width] = piece
            first = last
        assert states is not None
        return states

    def _write(self, started: _Started, sequences: torch.Tensor, processors: Any, room: int) -> list[list[int]]:
        """Take the likeliest token of each row until all have ended. `sequences` is what rules look at."""
        outputs: list[list[int]] = [[] for _ in range(len(sequences))]
        rows = list(range(len(sequences)))
        ended = [False] * len(rows)
        drop = _DROP_RECORDED if self._record else _DROP
        for step in range(room):
            logits = started.logits
            if processors:
                logits = processors(sequences, logits.float())
            tokens = logits.float().argmax(-1)  # in bfloat16 it takes five times as long on a CPU
            for place, token in enumerate(tokens.tolist()):
                if not ended[place]:
                    outputs[rows[place]].append(token)
                    ended[place] = token in self._stops
            if all(ended) or step + 1 == room:
                break
            if processors:  # some of them know the rows that they began with
                sequences = torch.cat([sequences, tokens[:, None]], dim=1)
            elif sum(ended) >= drop * len(rows):
                going = [place for place in range(len(rows)) if not ended[place]]
                started.keep(going)
                tokens, rows, ended = tokens[going], [rows[place] for place in going], [False] * len(going)
            started.step(tokens)
        return outputs


def padded(rows: Sequence[list[int]], filler: int, *, left: bool, width: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask, rows x tokens, of the longest row or of `width`."""
    width = max(width, *map(len, rows))
    ids = torch.full((len(rows), width), filler)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return ids, mask


def _shared(prompts: Sequence[list[int]]) -> int:
    """Return how many first tokens all prompts have in common; the last token of each is its own."""
    low, high = min(prompts), max(prompts)
    length = min(map(len, prompts)) - 1
    return next((i for i in range(length) if low[i] != high[i]), length)


def _visible(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    """Return what to add to attention scores, rows x 1 x 1 x tokens; None where nothing is hidden."""
    return None if bool(mask.all()) else _scores(mask.bool(), dtype)


def _scores(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what to add to attention scores, rows x 1 x 1 x tokens."""
    return torch.where(visible, 0.0, torch.finfo(dtype).min).to(dtype)[:, None, None]
