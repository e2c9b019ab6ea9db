"""The engine that runs everywhere, and the reference for quality: transformers on torch."""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig, TorchAoConfig
from transformers.utils import logging as transformers_logging

from sum_assets.errors import UserError
from sum_assets.summarizer.engines.batching import BatchGenerator
from sum_assets.summarizer.engines.decoding import (
    Decoder,
    can_capture,
    can_decode,
    capture_cuda_graph,
    padded,
)
from sum_assets.summarizer.generation_rules import stop_tokens
from sum_assets.summarizer.resolved_settings import ModelSettings
from sum_assets.summarizer.types import Quantization


def _quantization(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig | TorchAoConfig:
    """Return how transformers is to quantize a model as it loads."""
    if quantization == "torchao_int8":
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig

        return TorchAoConfig(Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=quantization, bnb_4bit_compute_dtype=dtype)


class TransformersGenerator(BatchGenerator):
    """Generates batch by batch; see `sum_assets.summarizer.types.Generator`.

    `naive` pads every input to the input limit and leaves all to transformers' `generate`. Raises UserError
    where the model's files cannot be loaded.
    """

    def __init__(self, resolved: ModelSettings, tokenizer: Any, *, naive: bool = False) -> None:
        super().__init__(resolved)
        self._narrowest = resolved.settings.max_input_tokens if naive else 0
        transformers_logging.disable_progress_bar()
        try:
            self._model = self._load()
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"model: {resolved.settings.model} cannot be loaded: {error}") from error
        self._model.eval()
        self._set_generation(tokenizer)
        fast = not naive and resolved.attention == "sdpa" and can_decode(self._model)
        if resolved.cuda_graphs and not (fast and can_capture(self._model)):
            raise UserError(f"cuda_graphs: {resolved.settings.model} is not decoded by our own loop. Leave it out.")
        self._decoder = Decoder(self._model, capture_cuda_graph if resolved.cuda_graphs else None) if fast else None

    def _load(self) -> Any:
        resolved = self._resolved
        options: dict[str, Any] = {
            "revision": resolved.files.commit or "main",
            "dtype": getattr(torch, resolved.precision),
            "attn_implementation": resolved.attention,
        }
        if resolved.quantization != "none":
            options["device_map"] = {"": resolved.device.torch_name}
            options["quantization_config"] = _quantization(resolved.quantization, options["dtype"])
        auto_class = AutoModelForSeq2SeqLM if resolved.encoder_decoder else AutoModelForCausalLM
        model: Any = auto_class.from_pretrained(resolved.files.location, **options)
        return model if resolved.quantization != "none" else model.to(resolved.device.torch_name)

    def _set_generation(self, tokenizer: Any) -> None:
        """Put our limits into the model's own generation settings."""
        settings = self._resolved.settings
        config = self._model.generation_config
        config.do_sample = False
        config.temperature = config.top_p = config.top_k = None
        config.num_beams = settings.num_beams
        config.max_new_tokens = settings.max_output_tokens
        config.max_length = None
        stops = stop_tokens(self._resolved.files, tokenizer)
        config.eos_token_id = stops
        if config.pad_token_id is None:
            config.pad_token_id = stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def _generate(self, batch: Sequence[list[int]]) -> list[list[int]]:
        return self._decoder(batch) if self._decoder else self._generate_plainly(batch)

    def _generate_plainly(self, batch: Sequence[list[int]]) -> list[list[int]]:
        config = self._model.generation_config
        left = not self._resolved.encoder_decoder
        ids, mask = padded(batch, config.pad_token_id, left=left, width=self._narrowest)
        device = self._resolved.device.torch_name
        with torch.inference_mode():
            generated = self._model.generate(input_ids=ids.to(device), attention_mask=mask.to(device))
        # The output of a decoder begins with its start token; a causal model repeats its input.
        rows = generated[:, ids.shape[1] if left else 1 :].tolist()
        lengths = [next((i + 1 for i, t in enumerate(row) if t in config.eos_token_id), None) for row in rows]
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    def _peak_bytes(self) -> int | None:
        device = self._resolved.device
        return torch.cuda.max_memory_allocated(device.index) if device.kind == "cuda" else None
