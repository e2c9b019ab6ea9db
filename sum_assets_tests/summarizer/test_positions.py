"""Limits of positions, under all their names, are held before a model is loaded, and are what it really takes."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    EncoderDecoderConfig,
    EncoderDecoderModel,
)

from sum_assets.errors import UserError
from sum_assets.summarizer import SummarizerSettings
from sum_assets.summarizer.positions import check_positions

_IDS = {"vocab_size": 60, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
_BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
_BART = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "decoder_start_token_id": 2, "forced_eos_token_id": None,
}  # fmt: skip
_GPT = {"n_embd": 32, "n_layer": 1, "n_head": 2}
_LED = {"max_encoder_position_embeddings": 18, "max_decoder_position_embeddings": 12, "attention_window": [4]}


def sequence(family: str, **config: Any) -> Any:
    return AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(family, **_IDS, **_BART, **config))


def two_encoders(family: str, **config: Any) -> Any:
    encoder = AutoConfig.for_model(family, vocab_size=60, **_BERT, **config)
    decoder = AutoConfig.for_model(family, vocab_size=60, is_decoder=True, add_cross_attention=True, **_BERT, **config)
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    model.generation_config.decoder_start_token_id, model.generation_config.pad_token_id = 2, 0
    return model


def causal(family: str, **config: Any) -> Any:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **_IDS, **config))


def takes(model: Any, prompt: int, summary: int) -> bool:
    ids = torch.randint(5, 55, (1, prompt))
    mask = torch.ones_like(ids)
    try:
        model.eval().generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=summary, min_new_tokens=summary, do_sample=False
        )
    except (IndexError, RuntimeError):
        return False
    return True


def allowed(model: Any, prompt: int, summary: int) -> bool:
    settings = SummarizerSettings(model="m", max_input_tokens=prompt, max_output_tokens=summary)
    try:
        check_positions(settings, model.config)
    except UserError:
        return False
    return True


@pytest.mark.parametrize(
    ("model", "prompt", "summary"),
    [
        (lambda: sequence("bart", max_position_embeddings=16), 16, 16),
        (lambda: sequence("pegasus", max_position_embeddings=16), 16, 16),
        (lambda: sequence("marian", max_position_embeddings=16), 16, 16),
        (lambda: sequence("led", **_LED), 16, 12),
        (lambda: two_encoders("bert", max_position_embeddings=16), 16, 16),
        (lambda: two_encoders("roberta", max_position_embeddings=16, pad_token_id=1), 14, 14),
    ],
    ids=["bart", "pegasus", "marian", "led", "bert2bert", "roberta2roberta"],
)
def test_the_limits_of_encoder_and_decoder_are_those_of_the_model(model: Any, prompt: int, summary: int) -> None:
    made = model()
    for case in ((prompt, 3), (5, summary)):
        assert allowed(made, *case)
        assert takes(made, *case)
    for case in ((prompt + 1, 3), (5, summary + 1)):
        assert not allowed(made, *case)
    assert not takes(made, 5, summary + 1)
    assert not takes(made, prompt + 1 if prompt % 2 or "led" not in made.config.model_type else prompt + 3, 3)


@pytest.mark.parametrize(
    "model",
    [
        lambda: causal("gpt2", n_positions=16, **_GPT),
        lambda: causal(
            "opt", max_position_embeddings=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
            word_embed_proj_dim=32,
        ),
        lambda: causal("gptj", n_positions=16, rotary_dim=8, **_GPT),
        lambda: causal("mpt", max_seq_len=16, d_model=32, n_heads=2, n_layers=1),
    ],
    ids=["gpt2", "opt", "gptj", "mpt"],
)  # fmt: skip
def test_the_limit_of_a_causal_model_is_for_prompt_and_summary_together(model: Any) -> None:
    made = model()
    assert allowed(made, 12, 4)
    assert takes(made, 12, 4)
    assert not allowed(made, 13, 4)
    assert not takes(made, 14, 4), "it never reads its last token"


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("t5", {"n_positions": 512}),
        ("longt5", {"n_positions": 512}),
        ("umt5", {"n_positions": 512}),
        ("mamba", {}),
        ("gemma3", {}),
    ],
)
def test_what_is_no_limit_is_not_held(family: str, config: dict[str, Any]) -> None:
    check_positions(SummarizerSettings(model="m"), AutoConfig.for_model(family, **config))


def test_a_limit_inside_another_configuration_is_found() -> None:
    config = AutoConfig.for_model("gemma3", text_config={"max_position_embeddings": 64})
    with pytest.raises(UserError, match=r"together \d+, exceed the 64 positions of m"):
        check_positions(SummarizerSettings(model="m"), config)


def test_prophetnet_counts_from_the_padding() -> None:
    config = AutoConfig.for_model("prophetnet", max_position_embeddings=16, pad_token_id=0)
    check_positions(SummarizerSettings(model="m", max_input_tokens=15, max_output_tokens=15), config)
    with pytest.raises(UserError, match="max_output_tokens 16 would exceed the 15 positions of m"):
        check_positions(SummarizerSettings(model="m", max_input_tokens=15, max_output_tokens=16), config)
