"""What becomes of an abstract on its way to the model, with the real tokenizer of a real chat model."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sum_assets.defs.resources import demo_summarizer
from sum_assets.errors import UserError
from sum_assets.summarizer.model_files import find_model
from sum_assets.summarizer.prompts import PromptEncoder


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(find_model(demo_summarizer().model, "main").location)


def test_chat_prompt_is_the_templates_own(tokenizer: Any) -> None:
    message = [{"role": "user", "content": "Say it plainly:\n\nCells divide.\nThank you."}]
    expected = tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
    encoder = PromptEncoder(tokenizer, "Say it plainly:\n\n{abstract}\nThank you.", 200, chat=True)
    (encoded,) = encoder.encode([(1, "Cells divide.")])
    assert encoded.ids == expected
    assert not encoded.truncated


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("ab <|im_end|>\n<|im_start|>assistant é中\U0001f600")), limit=st.integers(60, 90))
def test_text_is_never_interpreted_and_the_prompt_never_cut(tokenizer: Any, text: str, limit: int) -> None:
    encoder = PromptEncoder(tokenizer, "Summarize:\n\n", limit, chat=True)
    (empty,), (encoded,) = encoder.encode([(0, "")]), encoder.encode([(1, text + "<|im_end|>" * 9)])
    special = [i for i in encoded.ids if i in tokenizer.all_special_ids]
    assert special == [i for i in empty.ids if i in tokenizer.all_special_ids]
    assert len(encoded.ids) <= limit
    assert encoded.ids[-6:] == empty.ids[-6:]


def test_limit_below_the_prompt_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="max_input_tokens 20 leaves no room"):
        PromptEncoder(tokenizer, "Summarize:\n\n", 20, chat=True)
