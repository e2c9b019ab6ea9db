"""Families of models, tiny and built on the spot, that write another text for each input."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from sum_assets_tests.tiny_models import CHAT_TEMPLATE, HUB_BART, WORDS, sentence, tiny_tokenizer

#: The input limit that goes with TEXTS: the longest of them is cut. In a Gemma or Mistral of these most are longer
#: than the window.
MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS, WINDOW = 24, 12, 8
#: Twelve texts; the last is the longest.
TEXTS = {i: sentence(10**6 + i, 4 + 2 * i) for i in range(12)}
_IDS: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3}
_CAUSAL: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 6, "head_dim": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.5,
}  # fmt: skip
_T5: dict[str, Any] = {
    "d_model": 48, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 6, "initializer_factor": 4.0,
    "decoder_start_token_id": 0,
}  # fmt: skip
_BART: dict[str, Any] = {
    "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 6, "decoder_attention_heads": 6,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 256, "init_std": 0.5,
    "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
_MOE: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_WINDOWED: dict[str, Any] = {"sliding_window": WINDOW, "query_pre_attn_scalar": 8, "tie_word_embeddings": False}
_GPT: dict[str, Any] = {"n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 256, "initializer_range": 0.5}


@dataclass(frozen=True)
class Family:
    """A configuration by its `model_type` and sizes, and whether it has a chat template.

    `seed` and `ending`, how much louder the end of a text is than other tokens, were chosen so that texts differ, and
    some of them end before the limit.
    """

    model_type: str
    sizes: dict[str, Any]
    seed: int = 0
    ending: float = 1.6
    seq2seq: bool = False
    chat: bool = False
    byte_level: bool = False


def _causal(model_type: str, *, seed: int = 0, chat: bool = False, byte_level: bool = False, **sizes: Any) -> Family:
    return Family(model_type, _CAUSAL | sizes, seed, chat=chat, byte_level=byte_level)


def _seq2seq(
    model_type: str,
    common: dict[str, Any],
    *,
    seed: int = 0,
    ending: float = 1.6,
    byte_level: bool = False,
    **sizes: Any,
) -> Family:
    return Family(model_type, common | sizes, seed, ending, seq2seq=True, byte_level=byte_level)


FAMILIES: dict[str, Family] = {
    "T5": _seq2seq("t5", _T5, seed=5),
    "mT5": _seq2seq("mt5", _T5),
    "UMT5": _seq2seq("umt5", _T5),
    "LongT5": _seq2seq("longt5", _T5, local_radius=3, encoder_attention_type="local"),
    "LongT5, global": _seq2seq(
        "longt5", _T5, seed=2, local_radius=3, global_block_size=4, encoder_attention_type="transient-global"
    ),
    "BART": _seq2seq("bart", _BART, seed=9, byte_level=True, **HUB_BART),
    "mBART": _seq2seq("mbart", _BART, seed=7, ending=1.1),
    "PEGASUS": _seq2seq("pegasus", _BART, seed=10, ending=1.1),
    "PEGASUS-X": _seq2seq("pegasus_x", _BART, seed=5, ending=1.1, block_size=4, num_global_tokens=4),
    "BigBird-PEGASUS": _seq2seq("bigbird_pegasus", _BART, seed=11, ending=1.1, block_size=4, num_random_blocks=1),
    "Marian": _seq2seq("marian", _BART | {"init_std": 1.0}, seed=4, ending=1.1),
    "LED": _seq2seq(
        "led", _BART, attention_window=[4, 4], max_encoder_position_embeddings=256, max_decoder_position_embeddings=256
    ),
    "ProphetNet": _seq2seq(
        "prophetnet", {"hidden_size": 48, "num_encoder_layers": 2, "num_decoder_layers": 2, "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64, "num_encoder_attention_heads": 6, "num_decoder_attention_heads": 6,
        "max_position_embeddings": 256, "init_std": 0.5, "decoder_start_token_id": 3, "relative_max_distance": 64},
        seed=4,
    ),
    "Llama": _causal("llama", chat=True),
    "Mistral, window": _causal("mistral", chat=True, sliding_window=WINDOW),
    "Mixtral": _causal("mixtral", seed=2, num_local_experts=4, num_experts_per_tok=2),
    "Qwen2": _causal("qwen2", chat=True, byte_level=True),
    "Qwen3": _causal("qwen3", chat=True),
    "Qwen3-MoE": _causal("qwen3_moe", chat=True, num_experts=4, **_MOE),
    "Gemma": _causal("gemma"),
    "Gemma 2": _causal("gemma2", seed=1, chat=True, **_WINDOWED),
    "Gemma 3": _causal("gemma3_text", chat=True, **_WINDOWED),
    "Phi": _causal("phi"),
    "Phi-3": _causal("phi3", seed=1, chat=True),
    "OPT": _causal("opt", seed=2, ffn_dim=64, word_embed_proj_dim=48, init_std=0.5),
    "GPT-2": Family("gpt2", _GPT, seed=2, byte_level=True),
    "GPT-NeoX": _causal("gpt_neox", seed=4),
    "Granite": _causal("granite", seed=1),
    "OLMo2": _causal("olmo2", seed=2),
    "SmolLM3": _causal("smollm3", seed=1, chat=True),
    "LFM2": _causal("lfm2", seed=2, layer_types=["conv", "full_attention"], conv_L_cache=3, chat=True),
    "Mamba": _causal("mamba", seed=2, state_size=8, time_step_rank=4),
    "RWKV": _causal("rwkv", seed=1, attention_hidden_size=48, context_length=256),
}  # fmt: skip


def save_family(name: str, folder: Path) -> None:
    """Save an untrained model of a family, its weights so large that each input leads to another output."""
    save(FAMILIES[name], folder)


def save(family: Family, folder: Path) -> None:
    """Save an untrained model and its tokenizer as `save_pretrained` does."""
    tokenizer = tiny_tokenizer(
        frame="</s>" if family.seq2seq else "",
        chat=CHAT_TEMPLATE if family.chat else None,
        byte_level=family.byte_level,
    )
    torch.manual_seed(family.seed)
    config: Any = AutoConfig.for_model(family.model_type, vocab_size=len(tokenizer), **family.sizes, **_IDS)
    auto_class: Any = AutoModelForSeq2SeqLM if family.seq2seq else AutoModelForCausalLM
    model: Any = auto_class.from_config(config)
    words = word_ids(tokenizer)
    with torch.no_grad():
        out = model.get_output_embeddings().weight
        ending = family.ending * out[words].std() * torch.randn(out.shape[1])
        others = torch.ones(len(out), dtype=torch.bool)
        others[words] = False
        out[others] = 0  # it writes words, and ends
        out[tokenizer.eos_token_id] = ending
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def word_ids(tokenizer: Any) -> list[int]:
    """Return the ids of WORDS inside of a text."""
    return [tokenizer(f" {word}", add_special_tokens=False).input_ids[-1] for word in WORDS]


def set_rules(folder: Path, rules: dict[str, Any]) -> None:
    """Write generation rules into the model's own generation settings."""
    path = folder / "generation_config.json"
    own = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(own | rules))
