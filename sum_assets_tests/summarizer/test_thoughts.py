"""A reasoning model's thoughts are no summary."""

from pathlib import Path
from typing import Any

import pytest

from sum_assets.summarizer import Rejection, Summary
from sum_assets_tests.summarizer.chat_models import resolve, save_chat_model, written
from sum_assets_tests.summarizer.tokenizers import CHATML, byte_level

SWITCH = "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
HARMONY = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|start|>user<|message|>' + m.content + '<|end|>' }}"
    "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
HARMONY_TOKENS = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>")
SUMMARY = "Cells were counted."


def chat_model(folder: Path, kind: str) -> Path:
    """Save a model that marks its thoughts in one of the ways that there are."""
    tokens: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    added: list[str] = []
    template = CHATML
    match kind:
        case "added tokens":  # Qwen3
            template, added = (
                CHATML + "{% if add_generation_prompt %}" + SWITCH + "{% endif %}",
                ["<think>", "</think>"],
            )
        case "special tokens":
            tokens = (*tokens, "<think>", "</think>")
        case "template":
            template = CHATML + "{% if false %}<think></think>{% endif %}"
        case "opened":  # DeepSeek R1
            template = CHATML + "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
        case "harmony":  # gpt-oss
            template, tokens = HARMONY, HARMONY_TOKENS
        case "magistral":
            tokens = (*tokens, "[THINK]", "[/THINK]")
    tokenizer = byte_level(*tokens)
    tokenizer.add_tokens(added)
    tokenizer.chat_template = template
    return save_chat_model(folder, tokenizer)


def tags(thought: str, summary: str = SUMMARY, begin: str = "<think>", end: str = "</think>") -> str:
    return f"{begin}\n{thought}\n{end}\n\n{summary}"


HARMONY_TEXT = (
    f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{SUMMARY}<|return|>"
)
THOUGHTS = [
    ("added tokens", tags("Okay, the user wants a summary.")),
    ("added tokens", "Okay.</think>" + SUMMARY),
    ("added tokens", tags("a", tags("b"))),
    ("special tokens", tags("Okay.")),
    ("template", "Okay.\n</think>\n" + SUMMARY),
    ("template", "  \n" + tags("Okay.")),
    ("opened", "Okay, the user wants a summary.\n</think>\n\n" + SUMMARY),
    ("opened", tags("Okay.")),
    ("harmony", HARMONY_TEXT),
    ("magistral", tags("Hm.", begin="[THINK]", end="[/THINK]")),
    ("plain", tags("Okay.")),
    ("plain", tags("Okay.", begin="<Thinking>", end="</Thinking>")),
    ("plain", tags("Okay.", begin="<reasoning>", end="</reasoning>")),
    ("plain", tags("Okay.", begin="<thought>", end="</thought>")),
]


@pytest.mark.parametrize(("kind", "text"), THOUGHTS)
def test_a_thought_is_rejected_or_cut_off(tmp_path: Path, kind: str, text: str) -> None:
    folder = chat_model(tmp_path, kind)
    result = written(resolve(folder), text)
    assert isinstance(result, Rejection)
    assert (result.reason, "thoughts: cut" in result.detail) == ("thought", True)
    assert ("enable_thinking: false" in result.detail) == (kind == "added tokens")
    result = written(resolve(folder, thoughts="cut"), text)
    assert isinstance(result, Summary)
    assert result.text == SUMMARY


@pytest.mark.parametrize("thoughts", ["reject", "cut"])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("added tokens", "<think>\nOkay, the user"),
        ("added tokens", tags("a") + "<think>"),
        ("special tokens", "<think>Okay"),
        ("opened", "Okay, the user wants"),
        ("harmony", "<|channel|>analysis<|message|>We need"),
        ("harmony", "<|channel|>commentary<|message|>We need"),
        ("plain", "<think>Okay"),
    ],
)
def test_a_thought_without_an_end_is_rejected(tmp_path: Path, kind: str, text: str, thoughts: str) -> None:
    result = written(resolve(chat_model(tmp_path, kind), thoughts=thoughts), text)
    assert isinstance(result, Rejection)
    assert (result.reason, "max_output_tokens" in result.detail) == ("unfinished_thought", True)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("added tokens", tags(""), SUMMARY),
        ("added tokens", "</think>\n" + SUMMARY, SUMMARY),
        ("opened", "\n</think>\n" + SUMMARY, SUMMARY),
        ("harmony", f"<|channel|>final<|message|>{SUMMARY}<|return|>", SUMMARY),
        ("plain", tags(" "), SUMMARY),
        ("plain", "Models write <think> and </think>.", "Models write <think> and </think>."),
        ("plain", "They end at </think>.", "They end at </think>."),
        ("added tokens", SUMMARY, SUMMARY),
        ("special tokens", SUMMARY + "</s>", SUMMARY),
        ("template", SUMMARY, SUMMARY),
    ],
)
def test_a_text_without_thoughts_is_kept(tmp_path: Path, kind: str, text: str, expected: str) -> None:
    result = written(resolve(chat_model(tmp_path, kind)), text)
    assert isinstance(result, Summary)
    assert result.text == expected


def test_a_thought_with_nothing_after_it_is_an_empty_summary(tmp_path: Path) -> None:
    result = written(resolve(chat_model(tmp_path, "added tokens"), thoughts="cut"), tags("Okay.", ""))
    assert isinstance(result, Rejection)
    assert result.reason == "empty_summary"


def test_thoughts_turned_off_are_no_thoughts(tmp_path: Path) -> None:
    options: dict[str, Any] = {"chat_template_options": {"enable_thinking": False}}
    result = written(resolve(chat_model(tmp_path, "added tokens"), **options), SUMMARY)
    assert isinstance(result, Summary)
    assert result.text == SUMMARY
