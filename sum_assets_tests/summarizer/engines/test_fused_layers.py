"""Layers that torch computes with one kernel: the same numbers as transformers' own."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from sum_assets.summarizer.engines.decoding.families import FAMILIES
from sum_assets.summarizer.engines.decoding.fused_layers import fuse_layers

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])
CAUSAL: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
SEQ2SEQ: dict[str, dict[str, Any]] = {
    family: {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
             "feed_forward_proj": "gated-gelu"}
    for family in ("t5", "mt5")
} | {
    family: {"vocab_size": 50, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    for family in ("bart", "mbart", "pegasus")
}  # fmt: skip


def logits(model: Any) -> torch.Tensor:
    inputs = {"input_ids": IDS} | ({"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {})
    with torch.inference_mode():
        result: torch.Tensor = model(**inputs).logits.float()
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_computes_the_same_numbers_with_fused_layers(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config: Any = AutoConfig.for_model(family, **SEQ2SEQ.get(family, CAUSAL))
    auto: Any = AutoModelForSeq2SeqLM if family in SEQ2SEQ else AutoModelForCausalLM
    model = auto.from_config(config, dtype=dtype).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 2.0)
    expected = logits(model)
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "device", torch.device("cuda"))
        fuse_layers(model)
    left = {type(module).__name__ for module in model.modules()}
    assert not {name for name in left if name.endswith(("RMSNorm", "T5LayerNorm"))} - {"_FusedRMSNorm"}
    assert "NewGELUActivation" not in left
    assert (logits(model) - expected).abs().max() <= 16 * torch.finfo(dtype).eps * expected.abs().max()


def test_a_norm_takes_more_bits_than_its_weight_has() -> None:
    """As in T5 with float16, whose feed-forward layers end in float32."""
    config: Any = AutoConfig.for_model("t5", **SEQ2SEQ["t5"])
    model = AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float16)
    states = torch.randn(2, 3, 32) * 1e5  # float16 ends at 65504
    norm: Any = model.encoder.final_layer_norm
    expected = norm(states)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "device", torch.device("cuda"))
        fuse_layers(model)
    fused: Any = model.encoder.final_layer_norm
    assert fused is not norm
    assert fused(states).dtype == torch.float16
    assert torch.equal(fused(states), expected)
