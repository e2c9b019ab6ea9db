"""What every engine is compared with: transformers' own `generate`, row by row, from a freshly loaded model.

None of our decoding, prompt or loading code is used, so that none of it can be wrong here in the same way.
"""

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest.mock import patch

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, BitsAndBytesConfig, TorchAoConfig
from transformers.utils import chat_template_utils
from transformers.utils import logging as transformers_logging

from sum_assets.summarizer.devices import free_memory
from sum_assets.summarizer.generation_rules import stop_tokens
from sum_assets.summarizer.model_files import ModelFiles, load_tokenizer, weights_folder
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.torchao_config import torchao_int8
from sum_assets.summarizer.user_settings import DEFAULT_DATE
from sum_assets.summarizer.watchdog import watchdog


@dataclass(frozen=True, slots=True)
class PlainSummary:
    """What `generate` wrote: the text, and its ids, stop token included.

    `read` is the abstract, or as much of its beginning as the input limit left.
    """

    text: str
    ids: list[int]
    input_tokens: int
    read: str


def plain_generate(resolved: ModelSettings, texts: Sequence[str]) -> list[PlainSummary]:
    """Return what the model writes on each text, in their order; it is loaded for this, and freed again.

    Model, prompt, limits, precision, quantization, attention and device are those of the settings, whatever their
    engine. Raises what transformers raises.
    """
    try:
        return _PlainModel(resolved).write(texts)
    finally:
        free_memory(resolved.device)


def spells_special_token(resolved: ModelSettings, texts: Sequence[str]) -> list[bool]:
    """Return for each text whether it spells a special token, which tokenizers by default take for one."""
    tokenizer = _load_tokenizer(resolved.files)
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    # Some tokenizers have added words and blanks, which are text like any other.
    special = {token for token in added if not token.isspace() and not token[:1].isalnum()}
    return [any(token in text for token in special | set(tokenizer.all_special_tokens)) for text in texts]


class _PlainModel:
    def __init__(self, resolved: ModelSettings) -> None:
        self._resolved = resolved
        transformers_logging.disable_progress_bar()
        folder, device = str(weights_folder(resolved.files)), resolved.device.torch_name
        self._tokenizer = _load_tokenizer(resolved.files)
        self._tokenizer.truncation_side = "right"
        options: dict[str, Any] = {"dtype": getattr(torch, resolved.precision), "device_map": {"": device}}
        if resolved.attention:
            options["attn_implementation"] = resolved.attention
        if resolved.quantization != "none":
            options["quantization_config"] = _quantization(resolved)
        auto_class = AutoModelForSeq2SeqLM if resolved.encoder_decoder else AutoModelForCausalLM
        self._model: Any = auto_class.from_pretrained(folder, **options)
        self._model.eval()

    def write(self, texts: Sequence[str]) -> list[PlainSummary]:
        settings, tokenizer = self._resolved.settings, self._tokenizer
        written = []
        for text in texts:
            ids, read = self._fitted(text)
            inputs = torch.tensor([ids], device=self._model.device)
            with watchdog(lambda: None), torch.inference_mode():
                (row,) = self._model.generate(
                    input_ids=inputs,
                    attention_mask=torch.ones_like(inputs),
                    max_new_tokens=settings.max_output_tokens,
                    num_beams=settings.num_beams,
                    do_sample=False,
                    num_return_sequences=1,
                    return_dict_in_generate=False,
                    eos_token_id=stop_tokens(self._resolved.files, tokenizer),
                    tokenizer=tokenizer,  # stop strings need it
                ).tolist()
            # The output of a decoder begins with its start token; a causal model repeats its input.
            output = row[1:] if self._resolved.encoder_decoder else row[len(ids) :]
            summary = tokenizer.decode(output, skip_special_tokens=True).replace("\x00", "").strip()
            written.append(PlainSummary(summary, output, len(ids), read))
        return written

    def _fitted(self, text: str) -> tuple[list[int], str]:
        """Return the input's ids, no more than the limit, and the text that they hold."""
        tokenizer, settings = self._tokenizer, self._resolved.settings
        limit, (before, after, chat) = settings.max_input_tokens, self._around()
        ids = self._tokenized(text)
        if len(ids) <= limit:
            return ids, text
        if not chat and not after:
            return tokenizer(before + text, truncation=True, max_length=limit).input_ids, text
        if tokenizer.is_fast:
            offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
            ends = [end for _, end in offsets]
        else:
            ends = list(range(len(text)))
        fitting = bisect_right(ends, limit, key=lambda end: len(self._tokenized(text[:end])))
        read = text[: ends[fitting - 1]] if fitting else ""
        return self._tokenized(read), read

    def _tokenized(self, text: str) -> list[int]:
        before, after, chat = self._around()
        content = before + text + after
        if not chat:
            return self._tokenizer(content, verbose=False).input_ids  # type: ignore[no-any-return]
        message = [{"role": "user", "content": content}]
        settings = self._resolved.settings
        day = datetime.fromisoformat(settings.chat_template_date)
        options: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        if settings.chat_template_date != DEFAULT_DATE:
            options["date_string"] = day.strftime("%d %b %Y")
        options |= settings.chat_template_options
        with patch.object(chat_template_utils, "datetime") as clock:  # templates may print the date
            clock.now.return_value = day
            return self._tokenizer.apply_chat_template(message, **options)["input_ids"]  # type: ignore[no-any-return]

    def _around(self) -> tuple[str, str, bool]:
        """Return the prompt before and after the abstract, and whether the chat template goes around both."""
        before, _, after = self._resolved.settings.prompt.partition("{abstract}")
        return before, after, not self._resolved.encoder_decoder and bool(self._tokenizer.chat_template)


def _load_tokenizer(files: ModelFiles) -> Any:
    """Return the tokenizer that transformers loads by itself, or ours where it cannot, or has a wrong beginning."""
    config = copy(files.config)
    config._name_or_path = files.hub_id or ""  # transformers knows some models by their names on the hub
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(files.folder), config=config)
    except Exception:  # what the reader of a missing file raises is not documented
        return load_tokenizer(files)
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id}
    unknown = tokenizer.unk_token_id
    # A SentencePiece model of NLLB has no languages, one of which begins each text.
    return load_tokenizer(files) if unknown not in special and unknown in tokenizer.encode("") else tokenizer


def _quantization(resolved: ModelSettings) -> BitsAndBytesConfig | TorchAoConfig:
    if resolved.quantization == "torchao_int8":
        return torchao_int8()
    if resolved.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=resolved.quantization,
        bnb_4bit_compute_dtype=getattr(torch, resolved.precision),
    )
