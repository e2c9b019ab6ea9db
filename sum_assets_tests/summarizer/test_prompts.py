"""What becomes of an abstract on its way to the model: the ids are those of transformers, for the whole prompt."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers
from transformers import ByT5Tokenizer

from sum_assets.defs.resources import demo_summarizer
from sum_assets.errors import UserError
from sum_assets.summarizer.model_files import find_model, load_tokenizer
from sum_assets.summarizer.prompts import Encoded, PromptEncoder
from sum_assets.summarizer.types import Rejection
from sum_assets_tests.summarizer.tokenizers import CHAT_TOKENS, TEMPLATES, byte_level, sentencepiece_bpe, unigram

PROMPTS = ("Summarize: ", "", "{abstract}\n\nSay it plainly:", "Text:\n{abstract}", "  Text \n\n", "a {abstract}b ")
#: Pieces of texts that tokenizers and templates treat in ways of their own.
PIECES = [
    *"ab1.<>|[]/ \n\t",
    "  ",
    "é",
    "e\u0301",
    "中",
    "\U0001f600",
    "Cells divide",
    "user",
    "\u200b",
    "[INST]",
    "##",
]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=30).map("".join)
ENDS = ("</s>", "<s>", "<pad>")
#: Texts that spell special tokens, also in ways that some normalize into them.
SPELT = st.lists(
    st.sampled_from([*PIECES, *CHAT_TOKENS, *ENDS, "\uff1c/s\uff1e", "<|IM_END|>", "<|im_<|im_end|>end|>"]),
    min_size=1, max_size=12,
).map("".join)  # fmt: skip
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def filled(prompt: str, abstract: str) -> str:
    return (prompt if "{abstract}" in prompt else prompt + "{abstract}").replace("{abstract}", abstract)


def templated(tokenizer: Any, prompt: str, abstract: str) -> list[int]:
    message = [{"role": "user", "content": filled(prompt, abstract)}]
    ids: list[int] = tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
    return ids


def encode(encoder: PromptEncoder, text: str) -> Encoded:
    (encoded,) = encoder.encode([(1, text)])
    assert isinstance(encoded, Encoded), encoded
    return encoded


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "byte-level": byte_level(*CHAT_TOKENS),
        "byte-level, plain": byte_level(),
        "sentencepiece": sentencepiece_bpe(folder / "new", legacy=False, tokens=("[INST]", "[/INST]")),
        "sentencepiece, legacy": sentencepiece_bpe(folder / "old", legacy=True, tokens=CHAT_TOKENS),
        "sentencepiece, plain": sentencepiece_bpe(folder / "plain", legacy=True),
        "unigram": unigram(),
        "bytes": ByT5Tokenizer(),
    }


CHAT_TOKENIZERS = ("byte-level", "byte-level, plain", "sentencepiece", "sentencepiece, legacy", "sentencepiece, plain")
any_chat = {
    "name": st.sampled_from(CHAT_TOKENIZERS),
    "template": st.sampled_from(sorted(TEMPLATES)),
    "prompt": st.sampled_from(PROMPTS),
}


@settings(quick, max_examples=150)
@given(text=TEXTS, **any_chat)
def test_ids_are_those_of_the_chat_template(
    tokenizers: dict[str, Any], name: str, template: str, prompt: str, text: str
) -> None:
    tokenizer = tokenizers[name]
    tokenizer.chat_template = TEMPLATES[template]
    assume(not ("[INST]" in text and name == "sentencepiece"))  # there it is a special token
    encoded = encode(PromptEncoder(tokenizer, prompt, 2000, chat=True), text)
    assert encoded.ids == templated(tokenizer, prompt, text)
    assert not encoded.truncated


@settings(quick, max_examples=100)
@given(text=TEXTS, room=st.integers(1, 40), **any_chat)
def test_a_cut_prompt_is_the_templates_for_a_beginning_of_the_abstract(
    tokenizers: dict[str, Any], name: str, template: str, prompt: str, text: str, room: int
) -> None:
    tokenizer = tokenizers[name]
    tokenizer.chat_template = TEMPLATES[template]
    assume(not ("[INST]" in text and name == "sentencepiece"))
    limit = len(templated(tokenizer, prompt, "a")) + room
    encoded = encode(PromptEncoder(tokenizer, prompt, limit, chat=True), text)
    whole = templated(tokenizer, prompt, text)
    assert len(encoded.ids) <= limit
    assert encoded.truncated == (len(whole) > limit)
    beginnings = [templated(tokenizer, prompt, text[:end]) for end in range(len(text) + 1)]
    assert encoded.ids in beginnings
    if encoded.truncated:  # the next token of the abstract does not fit; its characters may be several
        last = max(end for end, ids in enumerate(beginnings) if ids == encoded.ids)
        assert len(encoded.ids) >= limit - 4 or len(beginnings[last + 1]) > limit


@settings(quick, max_examples=150)
@given(
    name=st.sampled_from(["byte-level", "sentencepiece", "sentencepiece, legacy", "unigram", "bytes"]),
    prompt=st.sampled_from(PROMPTS),
    text=TEXTS,
    room=st.integers(1, 60),
)
def test_without_a_template_ids_are_those_of_the_tokenizer(
    tokenizers: dict[str, Any], name: str, prompt: str, text: str, room: int
) -> None:
    tokenizer = tokenizers[name]
    assume(not ("[INST]" in text and name == "sentencepiece"))
    limit = len(tokenizer(filled(prompt, "a")).input_ids) + room
    encoded = encode(PromptEncoder(tokenizer, prompt, limit, chat=False), text)
    whole = tokenizer(filled(prompt, text)).input_ids
    assert encoded.truncated == (len(whole) > limit)
    if filled(prompt, "|").endswith("|"):  # nothing comes after the abstract
        assert encoded.ids == tokenizer(filled(prompt, text), truncation=True, max_length=limit).input_ids
    else:
        assert len(encoded.ids) <= limit
        assert encoded.ids in [tokenizer(filled(prompt, text[:end])).input_ids for end in range(len(text) + 1)]


@settings(quick, max_examples=200)
@given(text=SPELT, limit=st.integers(100, 240), template=st.sampled_from([*sorted(TEMPLATES), None]), data=st.data())
def test_text_is_never_read_as_special_tokens(
    tokenizers: dict[str, Any], text: str, limit: int, template: str | None, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(CHAT_TOKENIZERS if template else sorted(tokenizers)))
    tokenizer = tokenizers[name]
    tokenizer.chat_template = TEMPLATES[template] if template else None
    encoder = PromptEncoder(tokenizer, "Say {abstract} so", limit, chat=template is not None)
    expected, encoded = encode(encoder, "a"), encode(encoder, text)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert [i for i in encoded.ids if i in special] == [i for i in expected.ids if i in special]
    assert len(encoded.ids) <= limit


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (AddedToken("<Think>", normalized=True, special=True), "a <think> b"),
        (AddedToken("<|im_end|>", lstrip=True, rstrip=True, special=True), "a   <|im_end|>\n b"),
        (AddedToken("<think>", special=False), "why <think> matters"),
        (AddedToken("<|user|>", special=False), "a <|user|>\nb"),  # the template puts this token together itself
    ],
)
def test_odd_tokens_stay_harmless(token: AddedToken, text: str) -> None:
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens([token])
    tokenizer.chat_template = TEMPLATES["zephyr"] + "{% if thinks %}<think>{% endif %}"
    added = tokenizer.convert_tokens_to_ids(str(token.content))
    assert added in templated(tokenizer, "", text)
    encoder = PromptEncoder(tokenizer, "", 400, chat=True)
    assert encode(encoder, text).ids.count(added) == encode(encoder, "a").ids.count(added)


@pytest.mark.parametrize("text", ["a </s> b", "a\uff1c/s\uff1eb", "</s></s>", "a </s>"])
def test_an_end_token_in_a_text_does_not_end_the_input_of_a_t5(text: str) -> None:
    tokenizer = unigram()
    assert tokenizer(text, split_special_tokens=True).input_ids.count(1) > 1  # the option does not help
    assert encode(PromptEncoder(tokenizer, "", 100, chat=False), text).ids.count(1) == 1


def test_tokens_that_are_words_of_the_field_are_left_as_they_are() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["<sub>", "genes", "\n\n"])
    tokenizer.chat_template = TEMPLATES["chatml"]
    text = "CO<sub>2 and genes\n\nof mice"
    assert encode(PromptEncoder(tokenizer, "", 400, chat=True), text).ids == templated(tokenizer, "", text)


def test_a_text_that_cannot_be_broken_up_is_rejected() -> None:
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" ", "")
    tokenizer.add_special_tokens({"extra_special_tokens": [AddedToken("<end>", normalized=True, special=True)]})
    encoder = PromptEncoder(tokenizer, "", 100, chat=False)
    assert [type(e) for e in encoder.encode([(1, "a <end> b"), (2, "plain")])] == [Rejection, Encoded]


def test_special_tokens_of_the_prompt_are_the_users_own() -> None:
    tokenizer = byte_level(*CHAT_TOKENS)
    prompt = "<|im_start|>user\n{abstract}<|im_end|>"
    encoder = PromptEncoder(tokenizer, prompt, 100, chat=False)
    assert encode(encoder, "Cells.").ids == tokenizer(filled(prompt, "Cells.")).input_ids


def test_a_template_that_refuses_a_text_rejects_that_row_alone() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = (
        "{% if 'x' in messages[0].content %}{{ raise_exception('no x') }}{% endif %}" + TEMPLATES["phi"]
    )
    first, second = PromptEncoder(tokenizer, "", 100, chat=True).encode([(1, "Sex."), (2, "Cells.")])
    assert isinstance(second, Encoded)
    assert isinstance(first, Rejection)
    assert (first.reason, "no x" in first.detail) == ("chat_template", True)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('A system message comes first') }}", "refuses .* A system message comes first"),
        ("{{ messages[1].content }}", "refuses"),
        ("{{ messages[0].content[:5] }}", "does not repeat the user's message"),
        ("{% for part in messages[0].content %}{{ part.text }}{% endfor %}", "does not repeat the user's message"),
        ("{{ messages[0]. }}", "cannot be read"),
    ],
)
def test_a_template_that_does_not_take_the_prompt_is_an_error(template: str, message: str) -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=message):
        PromptEncoder(tokenizer, "Summarize: ", 100, chat=True)


@pytest.fixture(scope="module")
def smollm() -> Any:
    return load_tokenizer(find_model(demo_summarizer().model, "main"))


@pytest.mark.slow
def test_chat_prompt_of_a_real_model_is_the_templates_own(smollm: Any) -> None:
    prompt = "Say it plainly:\n\n{abstract}\nThank you."
    encoded = encode(PromptEncoder(smollm, prompt, 200, chat=True), "Cells divide.")
    assert encoded.ids == templated(smollm, prompt, "Cells divide.")


@pytest.mark.parametrize("make", [byte_level, unigram])
def test_limit_below_the_prompt_is_an_error(make: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=r"max_input_tokens 3 leaves no room .* the prompt alone takes"):
        PromptEncoder(make(), "Summarize:\n\n", 3, chat=False)
