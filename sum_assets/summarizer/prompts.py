"""Turns abstracts into token ids: prompt, chat template and input limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sum_assets.errors import UserError

_PLACE = "{abstract}"
_MARK = "\u2060sum-assets-abstract\u2060"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input as token ids, prompt included."""

    abstract_id: int
    ids: list[int]
    truncated: bool


class PromptEncoder:
    """Encodes an abstract between what the prompt and the chat template put before and after it.

    Special tokens come from the template alone: text of an abstract that spells one is encoded as plain
    text. The abstract is what gives way to the input limit, never the prompt.
    """

    def __init__(self, tokenizer: Any, prompt: str, max_input_tokens: int, *, chat: bool) -> None:
        self._tokenizer = tokenizer
        self._before, _, after = (prompt if _PLACE in prompt else prompt + _PLACE).partition(_PLACE)
        if chat:
            message = [{"role": "user", "content": self._before + _MARK + after}]
            text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
            opening, mark, closing = text.partition(_MARK)
            if not mark:
                raise UserError("The model's chat template does not repeat the user's message as it is.")
            if opening.endswith(self._before):
                opening = opening.removesuffix(self._before)
            else:  # the template has trimmed it, and `opening` holds what is left
                self._before = ""
            self._head = tokenizer(opening, add_special_tokens=False).input_ids
            self._tail = tokenizer(closing, add_special_tokens=False).input_ids
        else:
            self._head, self._tail = _frame(tokenizer)
            self._tail = (self._plain([after])[0] if after else []) + self._tail
        self._room = max_input_tokens - len(self._head) - len(self._tail)
        prompt_tokens = len(self._plain([self._before])[0]) if self._before else 0
        if self._room <= prompt_tokens:
            raise UserError(
                f"max_input_tokens {max_input_tokens} leaves no room for an abstract: the prompt alone takes "
                f"{max_input_tokens - self._room + prompt_tokens}."
            )

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
        return encoded.input_ids  # type: ignore[no-any-return]

    def encode(self, abstracts: Sequence[tuple[int, str]]) -> list[Encoded]:
        """Encode (ID, text) pairs. No input is longer than the limit, in tokens."""
        if not abstracts:
            return []  # tokenizers raise IndexError
        contents = self._plain([self._before + text for _, text in abstracts])
        return [
            Encoded(abstract_id, self._head + ids[: self._room] + self._tail, len(ids) > self._room)
            for (abstract_id, _), ids in zip(abstracts, contents, strict=True)
        ]


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    text = tokenizer("x", add_special_tokens=False).input_ids
    framed = tokenizer("x").input_ids
    start = next(i for i in range(len(framed)) if framed[i : i + len(text)] == text)
    return framed[:start], framed[start + len(text) :]
