"""Turns abstracts into token ids: prompt, chat template and input limit."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sum_assets.errors import UserError
from sum_assets.summarizer.chat_template import ChatTemplate, is_control_token
from sum_assets.summarizer.types import Rejection
from sum_assets.summarizer.user_settings import (
    CAUSAL_PROMPT,
    DEFAULT_DATE,
    DEFAULT_MODEL,
    DEFAULT_PROMPT,
    SummarizerSettings,
)

_PLACE = "{abstract}"
#: Two texts that begin and end differently. What their prompts share is the prompt alone.
_PROBES = ("Cells divide.", "We measured 42 of them")
#: Attempts at breaking up what a text spells: one attempt may lay bare what lay around it.
_ATTEMPTS = 8
#: Families whose tasks were told apart by an instruction when they were trained. The others that read and write were
#: fine-tuned for one task, by its texts alone: mT5, UMT5 and LongT5, too, saw no instruction in pre-training.
_INSTRUCTED = {"t5": "summarize: "}


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input as token ids, prompt included."""

    abstract_id: int
    ids: list[int]
    truncated: bool


def usual_prompt(model: str, config: Any) -> str:
    """Return the prompt that a model of this name and configuration was most likely trained with.

    It is what the checkpoint itself says, else that of its family: an instruction for T5 and for causal models, none
    for BART, PEGASUS and others that were fine-tuned without one.
    """
    if model == DEFAULT_MODEL:
        return DEFAULT_PROMPT
    if not config.is_encoder_decoder:
        return CAUSAL_PROMPT
    tasks = getattr(config, "task_specific_params", None)
    task = tasks.get("summarization") if isinstance(tasks, Mapping) else None
    # A pipeline of transformers 4 puts the task's prefix before the text, else that of the model.
    for prefix in (task.get("prefix") if isinstance(task, Mapping) else None, getattr(config, "prefix", None)):
        if isinstance(prefix, str) and _PLACE not in prefix:
            return prefix
    return _INSTRUCTED.get(config.model_type, "")


def open_encoder(tokenizer: Any, settings: SummarizerSettings, *, encoder_decoder: bool) -> "PromptEncoder":
    """Return the encoder of a model's prompts. A chat template is for causal models."""
    return PromptEncoder(
        tokenizer,
        settings.prompt,
        settings.max_input_tokens,
        chat=bool(tokenizer.chat_template) and not encoder_decoder,
        options=settings.chat_template_options,
        date=settings.chat_template_date,
    )


class PromptEncoder:
    """Encodes abstracts as the chat template and the tokenizer do that with the whole prompt.

    Special tokens come from the template, the prompt and the tokenizer alone. What an abstract spells of them is
    broken up by a space. The abstract is what gives way to the input limit, never the prompt. `head` and `tail` are
    the token ids that all prompts begin and end with; `closing` is the text after the abstract.

    Raises UserError where the limit leaves no room, or where the template does not take the prompt.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt: str,
        max_input_tokens: int,
        *,
        chat: bool,
        options: Mapping[str, Any] | None = None,
        date: str = DEFAULT_DATE,
    ) -> None:
        if options and not chat:
            raise UserError("chat_template_options: no chat template is applied to this model. Leave them out.")
        self._tokenizer = tokenizer
        tokenizer.truncation_side = "right"  # the prompt comes first
        self._before, _, self._after = (prompt if _PLACE in prompt else prompt + _PLACE).partition(_PLACE)
        self._limit = max_input_tokens
        self.template = ChatTemplate(tokenizer, options, date) if chat else None
        texts = [self._render(probe) for probe in _PROBES]
        if not all(probe in text for probe, text in zip(_PROBES, texts, strict=True)):
            raise UserError("model: its chat template does not repeat the user's message. Name another model.")
        self.closing = texts[0].rpartition(_PROBES[0])[2]
        first, second = self._tokenize(texts)
        shared = _shared(first, second)
        self.head = first[:shared]
        self.tail = first[len(first) - _shared(first[shared:][::-1], second[shared:][::-1]) :]
        self._special = self._special_tokens("".join(texts))
        self._expected = self._special_in(first)
        shortest = len(self._ids("a"))
        if shortest > max_input_tokens:
            raise UserError(
                f"max_input_tokens {max_input_tokens} leaves no room for an abstract: the prompt alone takes "
                f"{shortest - 1}."
            )

    def encode(self, abstracts: Sequence[tuple[int, str]]) -> list[Encoded | Rejection]:
        """Encode (ID, text) pairs. No input is longer than the limit, in tokens.

        An abstract that the chat template refuses, or that spells special tokens in a way that cannot be broken up,
        is rejected.
        """
        if not abstracts:
            return []  # tokenizers raise IndexError
        try:
            rows = self._tokenize([self._render(text) for _, text in abstracts])
        except UserError:  # the template refuses one of them
            return [self._encode_alone(abstract_id, text, None) for abstract_id, text in abstracts]
        return [self._encode_alone(*row, ids) for row, ids in zip(abstracts, rows, strict=True)]

    def _encode_alone(self, abstract_id: int, text: str, ids: list[int] | None) -> Encoded | Rejection:
        try:
            if ids is None:
                ids = self._ids(text)
            if self._special_in(ids) != self._expected:
                text = self._broken_up(text)
                ids = self._ids(text)
            truncated = len(ids) > self._limit
            if truncated:
                ids = self._cut(text, len(ids))
        except UserError as error:
            return Rejection(abstract_id, "chat_template", str(error))
        if self._special_in(ids) != self._expected or not ids:
            return Rejection(
                abstract_id, "special_token", "the model's tokenizer reads special tokens into the text, or none at all"
            )
        return Encoded(abstract_id, ids, truncated)

    def _render(self, abstract: str) -> str:
        prompt = self._before + abstract + self._after
        return self.template.render_user(prompt) if self.template else prompt

    def _tokenize(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        encoded = self._tokenizer(list(texts), add_special_tokens=self.template is None, verbose=False, **options)
        return encoded.input_ids  # type: ignore[no-any-return]

    def _ids(self, abstract: str) -> list[int]:
        return self._tokenize([self._render(abstract)])[0]

    def _special_tokens(self, rendered: str) -> dict[int, str]:
        """Return the tokens that a text must not spell: special ones, and those that the chat template writes.

        A tokenizer gives the unknown token to any text, and a single character cannot be told from text.
        """
        tokenizer = self._tokenizer
        literals = f"{self.template.literals}\0{rendered}" if self.template else ""
        tokens = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        for i, token in tokenizer.added_tokens_decoder.items():
            if token.special or (token.content in literals and is_control_token(token.content)):
                tokens[i] = token.content
        ends = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.sep_token_id, tokenizer.cls_token_id)
        if tokenizer.unk_token_id not in ends:
            tokens.pop(tokenizer.unk_token_id, None)
        return {i: content for i, content in tokens.items() if len(content.strip()) > 1}

    def _special_in(self, ids: Sequence[int]) -> list[int]:
        return [i for i in ids if i in self._special]

    def _broken_up(self, text: str) -> str:
        """Return a text with a space before the last character of each special token that it spells."""
        for _ in range(_ATTEMPTS):
            places = self._spelled(text)
            if not places:
                break
            pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
            text = " ".join(pieces)
        return text

    def _spelled(self, text: str) -> list[int]:
        """Return the positions of the last characters of the special tokens that a text spells."""
        if not self._tokenizer.is_fast:
            spelled = "|".join(sorted(map(re.escape, self._special.values()), key=len, reverse=True))
            return [match.end() - 1 for match in re.finditer(spelled or "(?!)", text)]
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = [
            (start, start + len(text[start:end].rstrip()))  # some tokens take up the blanks around them
            for i, (start, end) in zip(encoded.input_ids, encoded.offset_mapping, strict=True)
            if i in self._special
        ]
        return sorted({end - 1 for start, end in spans if end - 1 > start})

    def _cut(self, text: str, tokens: int) -> list[int]:
        """Return the ids of as much of an abstract as fits, where all of it takes so many `tokens`."""
        if not self.template and not self._after:
            return self._tokenize([self._before + text], truncation=True, max_length=self._limit)[0]
        ends = self._token_ends(text)
        expected = len(ends) - (tokens - self._limit)  # as many tokens of the abstract, if they stay as they are
        if 0 < expected < len(ends):
            fitting, next_one = self._tokenize([self._render(text[:end]) for end in ends[expected - 1 : expected + 1]])
            if len(fitting) <= self._limit < len(next_one):
                return fitting
        count = bisect_right(ends, self._limit, key=lambda end: len(self._ids(text[:end])))
        return self._ids(text[: ends[count - 1]] if count else "")

    def _token_ends(self, text: str) -> list[int]:
        """Return the positions in a text where its tokens end; all of them, where the tokenizer does not say."""
        if not self._tokenizer.is_fast:
            return list(range(1, len(text) + 1))
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return sorted({end for _, end in encoded.offset_mapping})


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many ids two sequences have in common at their beginnings."""
    different = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(different, min(len(first), len(second)))
