"""Finds the thoughts that reasoning models write before a summary."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sum_assets.summarizer.chat_template import ChatTemplate, is_control_token

#: How models mark a thought: what begins it, and what ends it.
_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|channel>thought", "<channel|>"),
    # gpt-oss writes into channels, of which the final one is the answer.
    ("<|channel|>", "<|channel|>final<|message|>"),
)
#: Variables by which chat templates turn thoughts off.
_SWITCHES = ("enable_thinking", "thinking")


@dataclass(frozen=True, slots=True)
class _Convention:
    """How this model may mark a thought. `tokens` are the marks that are tokens of its tokenizer.

    `known` says that the chat template has the marks; `opened`, that the prompt ends within a thought.
    """

    begin: re.Pattern[str]
    end: re.Pattern[str]
    tokens: frozenset[int]
    known: bool
    opened: bool


class ThoughtFilter:
    """Takes the thoughts off a text, or says why the text is rejected.

    A mark counts anywhere in a text if it is a token of the tokenizer or stands in the chat template, otherwise only
    at the beginning: elsewhere it may be what the text is about. `closing` is the prompt's text after the abstract.
    """

    def __init__(
        self, tokenizer: Any, template: ChatTemplate | None, closing: str, setting: Literal["reject", "cut"]
    ) -> None:
        self._tokenizer = tokenizer
        self._setting = setting
        added = {i: token for i, token in tokenizer.added_tokens_decoder.items() if is_control_token(token.content)}
        self._conventions = [
            _Convention(
                re.compile(re.escape(begin), re.IGNORECASE),
                re.compile(re.escape(end), re.IGNORECASE),
                frozenset(i for i, token in added.items() if token.content in begin + "\0" + end),
                template is not None and (begin in template.literals or end in template.literals),
                closing.rfind(begin) > closing.rfind(end),
            )
            for begin, end in _MARKS
        ]
        self._tokens = frozenset[int]().union(*(convention.tokens for convention in self._conventions))
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._hidden = special.union(tokenizer.all_special_ids) - self._tokens
        switch = next((name for name in _SWITCHES if template and name in template.variables), None)
        self._switch = f"chat_template_options: {{{switch}: false}}" if switch else ""

    def __call__(self, ids: Sequence[int], text: str) -> str | tuple[str, str]:
        """Return the text of an output without its thoughts, or (reason, detail) of a rejection.

        `text` is the decoded output without special tokens. An empty thought is no thought, and is cut off.
        """
        marked = not self._tokens.isdisjoint(ids)
        if marked:  # the marks may be special tokens, which the text then lacks
            text = self._tokenizer.decode([i for i in ids if i not in self._hidden])
        thought = False
        for convention in self._conventions:
            anywhere = convention.known or convention.opened or not convention.tokens.isdisjoint(ids)
            rest, thoughts = _cut_thoughts(text.strip(), convention, anywhere=anywhere)
            if rest is None:
                return (
                    "unfinished_thought",
                    "the model's thought has no end. Set a higher max_output_tokens"
                    + (f", or {self._switch}." if self._switch else "."),
                )
            text = rest
            thought |= bool(thoughts)
        if thought and self._setting == "reject":
            return (
                "thought",
                "the model wrote its thoughts with the summary. Set "
                + (f"{self._switch}, or " if self._switch else "")
                + "thoughts: cut.",
            )
        return text


def _cut_thoughts(text: str, convention: _Convention, *, anywhere: bool) -> tuple[str | None, str]:
    """Return a text without its thoughts, and the thoughts. The text is None where a thought has no end."""
    thoughts = ""
    inside = convention.opened
    while True:
        begin = convention.begin.search(text) if anywhere else convention.begin.match(text)
        end = convention.end.search(text) if anywhere else None
        if not inside and end and not (begin and begin.start() < end.start()):
            inside = True  # only the end is written
        if inside:
            start = after = 0
        elif begin:
            start, after = begin.span()
        else:
            return text, thoughts
        end = convention.end.search(text, after)
        if not end:
            return None, thoughts
        thoughts += convention.begin.sub("", text[after : end.start()]).strip()
        text = f"{text[:start]} {text[end.end() :]}".strip()
        inside = False
