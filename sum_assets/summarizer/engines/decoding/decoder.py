"""Greedy decoding of a batch on transformers' models, without what makes `generate` slow.

`generate` joins the whole KV cache anew for each token and layer, reads a prefix that all inputs share once for each,
computes rows that have ended until the last one has, and pads inputs in front, so that attention needs a mask. Here
the KV cache is written in place, the shared prefix is read once, prefill takes some inputs at a time and decoding
takes all together, and ended rows are dropped. On a CPU, weights are packed. `generate` still prepares the model's own
generation rules (`custom_generate` in its documentation), which are applied here too.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from sum_assets.summarizer.engines.decoding.attention import ATTENTION
from sum_assets.summarizer.engines.decoding.capture import CaptureStep
from sum_assets.summarizer.engines.decoding.causal import CausalState
from sum_assets.summarizer.engines.decoding.packing import pack_linear_layers
from sum_assets.summarizer.engines.decoding.padding import additive_mask_or_none, padded
from sum_assets.summarizer.engines.decoding.seq2seq import Seq2SeqState, encode
from sum_assets.summarizer.engines.decoding.state import DecodeState

#: Tokens of a chunk of prefill. One input keeps a CPU busy, and then there is no padding to read.
PREFILL_CHUNK = {"cpu": 1}
_PREFILL_CHUNK_ELSEWHERE = 16_384
#: Ended rows are dropped when they are this share of the rows in the cache: dropping copies the others. Where steps
#: are captured, it costs a capture too.
COMPACT_AT, _COMPACT_AT_CAPTURED = 1 / 8, 1 / 2


class Decoder:
    """Decodes batches of one model, which it sets to its own attention; with `capture`, steps are captured."""

    def __init__(self, model: Any, capture: CaptureStep | None = None) -> None:
        self._model, self._capture = model, capture
        self._chunk_tokens = PREFILL_CHUNK.get(model.device.type, _PREFILL_CHUNK_ELSEWHERE)
        self._stops = frozenset(torch.as_tensor(model.generation_config.eos_token_id).flatten().tolist())
        model.set_attn_implementation(ATTENTION)
        if model.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            pack_linear_layers(model)

    def __call__(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """Return the ids that the model writes on each prompt, stop token included. Longest first is fastest."""
        model = self._model
        seq2seq, max_new_tokens = model.config.is_encoder_decoder, model.generation_config.max_new_tokens
        ids, mask = padded(prompts, model.generation_config.pad_token_id, left=not seq2seq)
        ids, mask = ids.to(model.device), mask.to(model.device)
        outputs: list[list[int]] = []
        encoded: dict[str, Any] = {}

        def decode(_: Any, input_ids: Tensor, logits_processor: Any, **__: Any) -> Tensor:
            state: DecodeState
            if seq2seq:
                states, start = encoded["encoder_outputs"].last_hidden_state, input_ids[:, -1].clone()
                input_mask = additive_mask_or_none(mask, model.dtype)
                state = Seq2SeqState(model, states, input_mask, start, max_new_tokens, self._capture)
            else:
                state = CausalState(model, prompts, max_new_tokens, self._chunk_tokens, self._capture)
            outputs.extend(self._write(state, input_ids, logits_processor, max_new_tokens))
            return input_ids

        with torch.inference_mode():
            if seq2seq:
                states = encode(model, ids, mask, self._chunk_tokens)
                encoded["encoder_outputs"] = BaseModelOutput(last_hidden_state=states)
            model.generate(input_ids=ids, attention_mask=mask, custom_generate=decode, **encoded)
        return outputs

    def _write(self, state: DecodeState, sequences: Tensor, processors: Any, max_new_tokens: int) -> list[list[int]]:
        """Take the likeliest token of each row until all have ended.

        `processors` are the model's generation rules; they look at `sequences`, rows x tokens.
        """
        outputs: list[list[int]] = [[] for _ in range(len(sequences))]
        rows = list(range(len(sequences)))  # the row of the batch at each place of the state
        ended = [False] * len(rows)
        compact_at = _COMPACT_AT_CAPTURED if self._capture else COMPACT_AT
        for step in range(max_new_tokens):
            logits = state.logits
            if processors:
                logits = processors(sequences, logits.float())
            tokens = logits.float().argmax(-1)  # in bfloat16 it takes five times as long on a CPU
            for place, token in enumerate(tokens.tolist()):
                if not ended[place]:
                    outputs[rows[place]].append(token)
                    ended[place] = token in self._stops
            if all(ended) or step + 1 == max_new_tokens:
                break
            if processors:  # some of them remember the rows of the first step, so that none may be dropped
                sequences = torch.cat([sequences, tokens[:, None]], dim=1)
            elif sum(ended) >= compact_at * len(rows):
                running = [place for place in range(len(rows)) if not ended[place]]
                state.compact(running)
                tokens, rows, ended = tokens[running], [rows[place] for place in running], [False] * len(running)
            state.step(tokens)
        return outputs
