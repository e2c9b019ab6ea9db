"""Greedy decoding of a batch on transformers' models, without what makes `generate` slow.

`generate` joins the whole KV cache anew for each token and layer, reads a prefix that all inputs share once for each,
computes rows that have ended until the last one has, and pads inputs in front, so that attention needs a mask. Here
the KV cache is written in place, the shared prefix is read once, prefill takes some inputs at a time and decoding
takes all together, and ended rows are dropped. On a CPU, weights are packed. `generate` still prepares the model's own
generation rules (`custom_generate` in its documentation), which are applied here too.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.modeling_outputs import BaseModelOutput

from sum_assets.errors import UserError
from sum_assets.summarizer.engines.decoding.attention import ATTENTION, for_new_shapes
from sum_assets.summarizer.engines.decoding.capture import CAPTURED_COLUMNS, CaptureStep
from sum_assets.summarizer.engines.decoding.causal import CausalState
from sum_assets.summarizer.engines.decoding.families import see_padding
from sum_assets.summarizer.engines.decoding.fused_layers import fuse_layers
from sum_assets.summarizer.engines.decoding.packing import pack_linear_layers
from sum_assets.summarizer.engines.decoding.padding import additive_mask_or_none, padded
from sum_assets.summarizer.engines.decoding.rules import Rules, equally_long
from sum_assets.summarizer.engines.decoding.seq2seq import Seq2SeqState, encode
from sum_assets.summarizer.engines.decoding.state import DecodeState

#: Tokens of a chunk of prefill at most, and bytes of the device's memory for each: all are in a layer at once.
_PREFILL_CHUNK, _PREFILL_BYTES = 16_384, 2**22
#: Ended rows are dropped when they are this share of the rows in the cache: dropping copies the others.
COMPACT_AT = 1 / 8
#: Where steps are captured, dropping costs a capture, and a plan for each shape that is new. So half of the rows are
#: dropped, down to a power of two, and widths are multiples of these columns (`capture.CAPTURED_COLUMNS`): most
#: shapes recur then.
_LEAST_CAPTURED_ROWS = 16
#: Steps that are launched before the tokens of one are read here, so that a GPU never waits for us. What follows the
#: end of a row is dropped.
READ_LAG = {"cuda": 1}

#: Instead of a token, where the logits of a row are NaN or infinite. It is read with the tokens, at no cost.
_NOT_A_NUMBER = -1


#: Steps that are tried in `check_capture`, and the one before which a row is dropped.
_TRIED_STEPS, _DROP_AT = 8, 5


def prefill_chunk(kind: str, memory_bytes: int | None) -> int:
    """Return the tokens of a chunk of prefill. One input keeps a CPU busy, and then there is no padding to read."""
    if kind == "cpu":
        return 1
    return _PREFILL_CHUNK if memory_bytes is None else min(_PREFILL_CHUNK, memory_bytes // _PREFILL_BYTES)


def places_to_keep(ended: Sequence[bool], *, captured: bool) -> list[int]:
    """Return the places of the rows to go on with, in ascending order: all, unless dropping some pays.

    `ended` says of each row whether it has ended. Where steps are captured, some that have are kept.
    """
    running = [place for place, is_over in enumerate(ended) if not is_over]
    size = len(running)
    if captured:
        size = max(_LEAST_CAPTURED_ROWS, 1 << (size - 1).bit_length())
    if size > (1 / 2 if captured else 1 - COMPACT_AT) * len(ended):
        return list(range(len(ended)))
    over = [place for place, is_over in enumerate(ended) if is_over]
    return sorted(running + over[: size - len(running)])


class TokenCopy:
    """Tokens on their way from the device. Only `tolist` waits for them."""

    def __init__(self, tokens: Tensor) -> None:
        on_cuda = tokens.device.type == "cuda"
        self._tokens = tokens.to("cpu", non_blocking=on_cuda)  # into pinned memory
        self._copied = torch.cuda.Event() if on_cuda else None  # type: ignore[no-untyped-call]
        if self._copied:
            self._copied.record()

    def tolist(self) -> list[int]:
        """Return the tokens."""
        if self._copied:
            self._copied.synchronize()
        return self._tokens.tolist()


class Decoder:
    """Decodes batches of one model, which it sets to its own attention.

    `rules` names the generation rules of its `generation_config`. With `capture`, steps are captured. `memory_bytes`
    is the device's memory, where it is known.
    """

    def __init__(
        self,
        model: Any,
        rules: Collection[str] = (),
        capture: CaptureStep | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self._model, self._capture = model, capture
        self._chunk_tokens = prefill_chunk(model.device.type, memory_bytes)
        # Events and graphs are those of the current device. Without CUDA they need none.
        self._index = model.device.index if model.device.type == "cuda" else -1
        self._lag = READ_LAG.get(model.device.type, 0)
        stops = model.generation_config.eos_token_id
        self._stops = frozenset(() if stops is None else torch.as_tensor(stops).flatten().tolist())
        self._see_padding = see_padding(rules, encoder_decoder=model.config.is_encoder_decoder)
        model.set_attn_implementation(ATTENTION)
        fuse_layers(model)
        if model.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            pack_linear_layers(model)

    def __call__(self, prompts: Sequence[list[int]]) -> list[list[int] | None]:
        """Return the ids that the model writes on each prompt, stop token included; None where it computes NaN.

        Longest first is fastest.
        """
        with torch.inference_mode(), torch.cuda.device(self._index):
            return self._write(*self._read(prompts, self._capture))

    def check_capture(self) -> str | None:
        """Return why steps are no longer captured, or None: captured ones must compute what plain ones do."""
        prompts = [[3, 4, 5, 6, 7, 8, 9], [3, 4, 5, 8]]
        limit = max(8 * torch.finfo(self._model.dtype).eps, 1e-4)  # kernels may round otherwise
        try:
            with torch.inference_mode(), torch.cuda.device(self._index):
                states = [self._read(prompts, capture)[0] for capture in (self._capture, lambda step: step)]
                for number in range(min(_TRIED_STEPS, self._model.generation_config.max_new_tokens - 1)):
                    tokens = states[1].logits.argmax(-1)
                    if number == _DROP_AT:
                        tokens = tokens[1:]
                        for state in states:
                            state.compact([1])
                    for state in states:
                        state.step(tokens)
                    captured, plain = (state.logits.float() for state in states)
                    if not (captured - plain).abs().max() <= limit * plain.abs().max():
                        raise UserError(f"step {number} computes other logits when it is captured")
        except UserError as error:
            self._capture = None
            return str(error)
        return None

    def _read(self, prompts: Sequence[list[int]], capture: CaptureStep | None) -> tuple[DecodeState, Tensor, Rules]:
        """Read the prompts; return the state after them, what the model's rules look at, and the rules."""
        model = self._model
        seq2seq, max_new_tokens = model.config.is_encoder_decoder, model.generation_config.max_new_tokens
        ids, mask = padded(prompts, model.generation_config.pad_token_id, left=not seq2seq)
        ids, mask = ids.to(model.device), mask.to(model.device)
        if not seq2seq:
            sequences, rules = self._prepare(prompts, ids, mask, None)
            with for_new_shapes():
                return CausalState(model, prompts, max_new_tokens, self._chunk_tokens, capture), sequences, rules
        with for_new_shapes():
            states = encode(model, ids, mask, self._chunk_tokens)
        sequences, rules = self._prepare(prompts, ids, mask, states)
        if capture:
            unread = -ids.shape[1] % CAPTURED_COLUMNS
            states, mask = pad(states, (0, 0, 0, unread)), pad(mask, (0, unread))
        start, input_mask = sequences[:, -1].clone(), additive_mask_or_none(mask, model.dtype)
        return Seq2SeqState(model, states, input_mask, start, max_new_tokens, capture), sequences, rules

    def _prepare(
        self, prompts: Sequence[list[int]], ids: Tensor, mask: Tensor, states: Tensor | None
    ) -> tuple[Tensor, Rules]:
        """Have `generate` prepare the model's rules; return what they look at, rows x tokens, and the rules."""
        sequences, groups = [], []
        for rows in equally_long(prompts) if self._see_padding else [slice(len(prompts))]:
            width = len(prompts[rows.start]) if self._see_padding else ids.shape[1]
            columns = slice(width) if states is not None else slice(ids.shape[1] - width, None)
            inputs: dict[str, Any] = {"input_ids": ids[rows, columns], "attention_mask": mask[rows, columns]}
            if states is not None:
                inputs["encoder_outputs"] = BaseModelOutput(last_hidden_state=states[rows, columns])
            prepared: list[Any] = []

            def keep(
                _: Any, input_ids: Tensor, logits_processor: Any, prepared: list[Any] = prepared, **__: Any
            ) -> Tensor:
                prepared += [input_ids, logits_processor]
                return input_ids

            self._model.generate(**inputs, custom_generate=keep)
            sequences.append(prepared[0])
            groups.append((rows, 0 if states is not None else ids.shape[1] - width, prepared[1]))
        looked_at = torch.cat(sequences) if states is not None else ids
        return looked_at, Rules(groups)

    def _write(self, state: DecodeState, sequences: Tensor, processors: Rules) -> list[list[int] | None]:
        """Take the likeliest token of each row until all have ended. A row whose logits are NaN or infinite ends.

        `processors` are the model's generation rules; they look at `sequences`, rows x tokens.
        """
        max_new_tokens = self._model.generation_config.max_new_tokens
        outputs: list[list[int]] = [[] for _ in range(len(sequences))]
        not_numbers = set()
        rows = list(range(len(sequences)))  # the row of the batch at each place of the state
        ended = [False] * len(rows)
        unread: deque[tuple[list[int], TokenCopy]] = deque()
        for step in range(max_new_tokens):
            logits = state.logits.float()  # in bfloat16 it takes five times as long on a CPU
            largest, tokens = logits.max(-1)  # NaN is the largest of all
            if processors:
                tokens = processors(sequences, logits).argmax(-1)
            unread.append((rows, TokenCopy(torch.where(largest.isfinite(), tokens, _NOT_A_NUMBER))))
            is_last = step + 1 == max_new_tokens
            while len(unread) > (0 if is_last else self._lag):
                written_rows, copy = unread.popleft()
                for row, token in zip(written_rows, copy.tolist(), strict=True):
                    if ended[row]:
                        continue
                    if token == _NOT_A_NUMBER:
                        not_numbers.add(row)
                    outputs[row].append(token)
                    ended[row] = token == _NOT_A_NUMBER or token in self._stops
            if all(ended) or is_last:
                break
            if processors:  # some of them remember the rows of the first step, so that none may be dropped
                sequences = torch.cat([sequences, tokens[:, None]], dim=1)
            else:
                kept = places_to_keep([ended[row] for row in rows], captured=bool(self._capture))
                if len(kept) < len(rows):
                    state.compact(kept)
                    tokens, rows = tokens[kept], [rows[place] for place in kept]
            state.step(tokens)
        return [None if row in not_numbers else output for row, output in enumerate(outputs)]
