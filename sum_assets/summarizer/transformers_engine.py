"""The engine that runs everywhere, and the reference for quality: transformers on torch."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from sum_assets.errors import UserError
from sum_assets.summarizer import Abstract, EngineState, Phases, Rejection, Summary
from sum_assets.summarizer.prompts import Encoded, PromptEncoder
from sum_assets.summarizer.resolve import Resolved

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class TransformersSummarizer:
    """Serves one model on one device; see `sum_assets.summarizer.Summarizer`.

    Raises UserError where the model's files cannot be loaded.
    """

    def __init__(self, resolved: Resolved, *, pad_to_limit: bool = False) -> None:
        self._resolved = resolved
        self._narrowest = resolved.settings.max_input_tokens if pad_to_limit else 0
        self._batch_size = resolved.batch_size
        self._out_of_memory = 0
        transformers_logging.disable_progress_bar()
        files = resolved.files
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(files.location, revision=files.commit or "main")
            self._model = self._load()
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"model: {resolved.settings.model} cannot be loaded: {error}") from error
        self._model.eval()
        chat = not resolved.encoder_decoder and bool(self._tokenizer.chat_template)
        self._encoder = PromptEncoder(
            self._tokenizer, resolved.settings.prompt, resolved.settings.max_input_tokens, chat=chat
        )
        self._stops = self._generation_settings()

    def _load(self) -> Any:
        resolved = self._resolved
        options: dict[str, Any] = {
            "revision": resolved.files.commit or "main",
            "dtype": getattr(torch, resolved.precision),
            "attn_implementation": resolved.attention,
        }
        if resolved.quantization != "none":
            options["device_map"] = {"": resolved.device.torch_name}
            options["quantization_config"] = (
                BitsAndBytesConfig(load_in_8bit=True)
                if resolved.quantization == "int8"
                else BitsAndBytesConfig(
                    load_in_4bit=True,
                    bnb_4bit_quant_type=resolved.quantization,
                    bnb_4bit_compute_dtype=options["dtype"],
                )
            )
        auto_class = AutoModelForSeq2SeqLM if resolved.encoder_decoder else AutoModelForCausalLM
        model: Any = auto_class.from_pretrained(resolved.files.location, **options)
        return model if resolved.quantization != "none" else model.to(resolved.device.torch_name)

    def _generation_settings(self) -> frozenset[int]:
        """Put our limits into the model's own generation settings; return the ids that end a summary."""
        settings = self._resolved.settings
        own = self._model.generation_config
        own.do_sample = False
        own.temperature = own.top_p = own.top_k = None
        own.num_beams = settings.num_beams
        own.max_new_tokens = settings.max_output_tokens
        own.max_length = None
        if own.eos_token_id is None:
            own.eos_token_id = self._tokenizer.eos_token_id
        stops = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        if own.pad_token_id is None:
            own.pad_token_id = stops[0] if self._tokenizer.pad_token_id is None else self._tokenizer.pad_token_id
        return frozenset(stops)

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        """Generate longest first, so that the largest need of memory comes at once, not at the end."""
        with phases("tokenize"):
            pending = self._encoder.encode([(a.abstract_id, a.text) for a in abstracts])
            pending.sort(key=lambda e: (-len(e.ids), e.abstract_id))
        while pending:
            batch = pending[: self._batch_size]
            with phases("generate"):
                outputs = self._generate(batch)
            if outputs is None:
                self._out_of_memory += 1
                if len(batch) > 1:
                    self._batch_size = len(batch) // 2
                    continue
                need = f"{len(batch[0].ids)} input tokens do not fit on {self._resolved.device.name}"
                yield [Rejection(batch[0].abstract_id, "out_of_memory", need)]
            else:
                with phases("detokenize"):
                    results = self._decode(batch, outputs)
                yield results
            pending = pending[len(batch) :]

    def _generate(self, batch: Sequence[Encoded]) -> list[list[int]] | None:
        """Return the generated ids of every row, stop token included; None when memory ran out."""
        try:
            ids, mask = self._pad(batch)
            with torch.inference_mode():
                generated = self._model.generate(input_ids=ids, attention_mask=mask)
            # A decoder of its own starts with a start token; a causal model repeats its input.
            start = 1 if self._resolved.encoder_decoder else ids.shape[1]
            return generated[:, start:].tolist()  # type: ignore[no-any-return]
        except (torch.OutOfMemoryError, MemoryError):
            pass
        except RuntimeError as error:
            if not any(text in str(error).lower() for text in _OUT_OF_MEMORY):
                raise
        # Out here the exception, and with it every tensor of the failed attempt, is gone.
        gc.collect()
        if self._resolved.device.kind == "cuda":
            torch.cuda.empty_cache()
        return None

    def _pad(self, batch: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask, rows x tokens. A causal model writes on at the right: it is padded at the left."""
        width = max(self._narrowest, *(len(e.ids) for e in batch))
        ids = torch.full((len(batch), width), self._model.generation_config.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, encoded in enumerate(batch):
            n = len(encoded.ids)
            place = slice(0, n) if self._resolved.encoder_decoder else slice(width - n, width)
            ids[row, place] = torch.tensor(encoded.ids)
            mask[row, place] = 1
        device = self._resolved.device.torch_name
        return ids.to(device), mask.to(device)

    def _decode(self, batch: Sequence[Encoded], outputs: Sequence[list[int]]) -> list[Summary | Rejection]:
        lengths = [next((i + 1 for i, t in enumerate(row) if t in self._stops), None) for row in outputs]
        rows = [row[:length] for row, length in zip(outputs, lengths, strict=True)]
        texts = self._tokenizer.batch_decode(rows, skip_special_tokens=True)
        results: list[Summary | Rejection] = []
        for encoded, row, length, text in zip(batch, rows, lengths, texts, strict=True):
            # PostgreSQL's text holds no NUL.
            text = text.replace("\x00", "").strip()
            if text:
                reason: Literal["stop", "length"] = "length" if length is None else "stop"
                results.append(
                    Summary(encoded.abstract_id, text, len(encoded.ids), len(row), encoded.truncated, reason)
                )
            else:
                results.append(Rejection(encoded.abstract_id, "empty_summary", "the model wrote nothing"))
        return results

    def state(self) -> EngineState:
        """Return the batch size in use and the device's peak memory, where the device tells it."""
        device = self._resolved.device
        peak = torch.cuda.max_memory_allocated(device.index) if device.kind == "cuda" else None
        return EngineState(device.name, self._batch_size, self._out_of_memory, peak)
