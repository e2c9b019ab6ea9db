"""The engine that runs everywhere, and the reference for quality: transformers on torch."""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import LogitsProcessorList

from sum_assets.errors import UserError
from sum_assets.summarizer.engines.batching import BatchGenerator, is_decoded_here
from sum_assets.summarizer.engines.decoding import (
    Decoder,
    can_capture,
    capture_cuda_graph,
    padded,
)
from sum_assets.summarizer.engines.load_model import load_model
from sum_assets.summarizer.engines.not_a_number import FiniteLogits, describe_not_a_number
from sum_assets.summarizer.generation_rules import held_generation_config
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import NOT_A_NUMBER, Output

_log = logging.getLogger(__name__)


class TransformersGenerator(BatchGenerator):
    """Generates batch by batch; see `sum_assets.summarizer.types.Generator`.

    `naive` pads every input to the input limit and leaves all to transformers' `generate`. Raises UserError
    where the model's files cannot be loaded.
    """

    def __init__(self, resolved: ModelSettings, tokenizer: Any, *, naive: bool = False) -> None:
        super().__init__(resolved)
        self._narrowest = resolved.settings.max_input_tokens if naive else 0
        self._model = load_model(resolved)
        held = held_generation_config(resolved.files, resolved.rules, resolved.settings.max_output_tokens, tokenizer)
        self._model.generation_config = held
        self._stops = frozenset(held.eos_token_id or ())
        self._options = {"tokenizer": tokenizer} if held.stop_strings else {}
        sparse = resolved.encoder_decoder and hasattr(self._model.get_encoder(), "set_attention_type")
        self._attention_type = resolved.files.config.attention_type if sparse else None
        fast = not naive and is_decoded_here(resolved)
        if resolved.cuda_graphs and not (fast and can_capture(self._model.config)):
            raise UserError(f"cuda_graphs: {resolved.settings.model} is not decoded by our own loop. Leave it out.")
        wanted = resolved.cuda_graphs is not False and can_capture(self._model.config)
        capture = capture_cuda_graph if wanted else None
        memory = resolved.device.memory_bytes
        self._decoder = Decoder(self._model, resolved.rules, capture, memory) if fast else None
        if self._decoder and capture and not resolved.cuda_graphs and (reason := self._decoder.check_capture()):
            _log.warning("CUDA graphs are off: %s.", reason)

    def _generate(self, batch: Sequence[list[int]]) -> list[Output]:
        outputs = self._decoder(batch) if self._decoder else self._generate_plainly(batch)
        return [self._not_a_number if output is None else output for output in outputs]

    @cached_property
    def _not_a_number(self) -> Output:
        return NOT_A_NUMBER, describe_not_a_number(self._resolved)

    def _generate_plainly(self, batch: Sequence[list[int]]) -> list[list[int] | None]:
        config = self._model.generation_config
        if self._attention_type:  # a short input changes it for all that follow
            self._model.get_encoder().set_attention_type(self._attention_type)
        left = not self._resolved.encoder_decoder
        ids, mask = padded(batch, config.pad_token_id, left=left, width=self._narrowest)
        device = self._resolved.device.torch_name
        with torch.inference_mode():
            finite = FiniteLogits()
            generated = self._model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                logits_processor=LogitsProcessorList([finite]),
                **self._options,
            )
        # The output of a decoder begins with its start token; a causal model repeats its input.
        rows = generated[:, ids.shape[1] if left else 1 :].tolist()
        lengths = [next((i + 1 for i, t in enumerate(row) if t in self._stops), None) for row in rows]
        outputs = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        numbers = finite.rows([len(output) for output in outputs])
        return [output if number else None for output, number in zip(outputs, numbers, strict=True)]

    def _peak_bytes(self) -> int | None:
        device = self._resolved.device
        return torch.cuda.max_memory_allocated(device.index) if device.kind == "cuda" else None
