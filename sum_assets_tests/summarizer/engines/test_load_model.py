"""What a checkpoint lacks is not filled at random, and what it may lack or hold beside is not refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from sum_assets.errors import UserError
from sum_assets.summarizer import GpuSettings, SummarizerSettings, open_summarizer, resolve_settings
from sum_assets.summarizer.devices import quantization_library
from sum_assets.summarizer.engines.load_model import load_model
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import Quantization

Weights = dict[str, Tensor]
Change = Callable[[Weights], Weights]
_SIZES: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0},
    "bart": {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64,
        "forced_eos_token_id": None,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 64,
    },
}  # fmt: skip
_SIZES["pegasus"] = _SIZES["marian"] = _SIZES["bart"]
_SIZES["qwen2"] = _SIZES["gemma"] = _SIZES["llama"]


def build(family: str, folder: Path, tokenizer: Path, change: Change, *, as_bin: bool = False, **config: Any) -> Path:
    """Save an untrained model whose weights were changed, with the tokenizer of another."""
    sizes = {"vocab_size": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, **_SIZES[family], **config}
    made = AutoConfig.for_model(family, **sizes)
    auto_class: Any = AutoModelForSeq2SeqLM if made.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(0)
    auto_class.from_config(made).save_pretrained(folder)
    for file in tokenizer.glob("*token*"):
        shutil.copy(file, folder)
    weights = {name: tensor.clone() for name, tensor in change(load_file(folder / "model.safetensors")).items()}
    if as_bin:
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def load(folder: Path, **gpu: object) -> None:
    settings = SummarizerSettings(model=str(folder), prompt="", max_input_tokens=32, max_output_tokens=8)
    open_summarizer(
        resolve_settings(
            GpuSettings.model_validate({"device": "cpu", "precision": "float32", "attention": "auto", **gpu}), settings
        )
    )


def prefixed(prefix: str) -> Change:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def without(part: str) -> Change:
    return lambda weights: {name: tensor for name, tensor in weights.items() if part not in name}


def with_extra(*names: str) -> Change:
    return lambda weights: {**weights, **dict.fromkeys(names, torch.zeros(2))}


def cut(name: str) -> Change:
    return lambda weights: {**weights, name: weights[name][:-4]}


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("qwen2", prefixed("_orig_mod."), r"holds _orig_mod\.lm_head.*Strip the prefix '_orig_mod\.' from its names"),
        ("llama", prefixed("module."), r"and \d+ more, which the model does not have\. Strip the prefix 'module\.'"),
        ("t5", prefixed("module."), r"Strip the prefix 'module\.'"),
        ("t5", prefixed("model."), r"Strip the prefix 'model\.'"),
        ("qwen2", without("layers.1.mlp.down"), r"it lacks model\.layers\.1\.mlp\.down_proj\.weight\. Save it again"),
        ("t5", without("shared"), r"it lacks .*embed_tokens"),
        ("llama", without("lm_head"), r"it lacks lm_head\.weight"),
        ("bart", without("embed_positions"), r"it lacks model\.decoder\.embed_positions"),
        ("llama", cut("model.embed_tokens.weight"), r"another shape of model\.embed_tokens\.weight \(60 x 64, not 64"),
        ("llama", with_extra("model.layers.2.mlp.up_proj.weight"), r"holds model\.layers\.2\.mlp.*does not have"),
        ("llama", with_extra("model.layers.0.self_attn.q_proj.lora_A.weight"), r"an adapter: merge it into the model"),
    ],
)
def test_a_checkpoint_that_is_not_the_models_is_refused(
    causal: Path, tmp_path: Path, family: str, change: Change, message: str
) -> None:
    for as_bin in (False, True):
        with pytest.raises(UserError, match=message):
            load(build(family, tmp_path / f"{as_bin}", causal, change, as_bin=as_bin))


@pytest.mark.parametrize("change", [prefixed("module."), without("SelfAttention.q"), cut("shared.weight")])
def test_an_engine_that_converts_the_model_is_given_none_that_is_not_whole(
    causal: Path, tmp_path: Path, change: Change
) -> None:
    with pytest.raises(UserError, match="does not fit its configuration"):
        load(build("t5", tmp_path / "model", causal, change), engine="ctranslate2")


def as_on_the_hub(weights: Weights) -> Weights:
    """T5 as Google saved it: the embeddings four times, and a bias that no version has used."""
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    bias = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return {**weights, **dict.fromkeys(copies, weights["shared.weight"]), bias: torch.zeros(32, 2)}


def fairseq(weights: Weights) -> Weights:
    """BART as it came from fairseq."""
    copies = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
    return {
        **without("final_logits_bias")(weights),
        **dict.fromkeys(copies, weights["model.shared.weight"]),
        "model.encoder.version": torch.ones(1),
    }


def openai(weights: Weights) -> Weights:
    """GPT-2 as OpenAI saved it: no prefix, and the masks of attention."""
    bare = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    return {**bare, "h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.1.attn.masked_bias": torch.tensor(-1e4)}


def untied_name(weights: Weights) -> Weights:
    """Tied embeddings under the head's name alone."""
    return {**without("embed_tokens")(weights), "lm_head.weight": weights["model.embed_tokens.weight"]}


@pytest.mark.parametrize(
    ("family", "change", "config"),
    [
        ("t5", as_on_the_hub, {}),
        ("t5", as_on_the_hub, {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}),
        ("bart", fairseq, {}),
        ("pegasus", without("embed_positions"), {}),
        ("pegasus", with_extra(), {}),
        ("marian", without("embed_positions"), {}),
        ("gpt2", openai, {}),
        ("llama", with_extra("model.layers.0.self_attn.rotary_emb.inv_freq", "v_head.summary.weight"), {}),
        ("llama", untied_name, {"tie_word_embeddings": True}),
        ("gemma", with_extra(), {}),
    ],
)
def test_what_a_checkpoint_may_lack_or_hold_beside_is_not_refused(
    causal: Path, tmp_path: Path, family: str, change: Change, config: dict[str, Any]
) -> None:
    for as_bin in (False, True):
        load(build(family, tmp_path / f"{as_bin}", causal, change, as_bin=as_bin, **config))


@pytest.mark.parametrize("quantization", ["int8", "nf4", "torchao_int8"])
def test_a_quantized_model_is_whole(causal: Path, tmp_path: Path, quantization: Quantization) -> None:
    pytest.importorskip(quantization_library(quantization))
    folder = build("llama", tmp_path / "whole", causal, with_extra())
    load(folder, quantization=quantization)
    with pytest.raises(UserError, match=r"it lacks model\.layers\.1\.mlp"):
        load(build("llama", tmp_path / "lacking", causal, without("layers.1.mlp.up")), quantization=quantization)


def test_t5_in_float16_keeps_in_float32_what_overflows(t5: Path) -> None:
    """The second matrix of its feed-forward layers: a V100 or T4 has no bfloat16."""
    settings = SummarizerSettings(model=str(t5), prompt="", max_input_tokens=32, max_output_tokens=8)
    resolved = resolve_settings(GpuSettings(device="cpu", precision="float32"), settings)
    assert isinstance(resolved, ModelSettings)
    found = load_model(replace(resolved, precision="float16")).named_parameters()  # refused on a CPU, which computes it
    assert {(name.endswith(".wo.weight"), weight.dtype) for name, weight in found} == {
        (True, torch.float32),
        (False, torch.float16),
    }


def test_a_lost_shard_is_a_sentence(causal: Path, tmp_path: Path) -> None:
    folder = build("llama", tmp_path / "sharded", causal, with_extra())
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    load(folder)
    shards = sorted(set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values()))
    (folder / shards[1]).unlink()
    with pytest.raises(UserError, match=rf"lacks {shards[1]}, a part of its weights"):
        load(folder)


def test_a_damaged_file_is_a_sentence(causal: Path, tmp_path: Path) -> None:
    folder = build("llama", tmp_path / "damaged", causal, with_extra())
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"abc" * 100)
    with pytest.raises(UserError, match=r"cannot be loaded"):
        load(folder)
