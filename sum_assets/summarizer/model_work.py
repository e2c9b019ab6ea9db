"""Counts what a model computes and reads for each token, from its config: nothing is loaded."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.roofline import ModelWork

_CROSS_ATTENTION = {"EncDecAttention", "encoder_attn"}
_KEYS_AND_VALUES = {"k", "v", "k_proj", "v_proj"}


def model_on_meta(config: PretrainedConfig) -> Any:
    """Return the model of a config, without memory for its parameters."""
    auto_class: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        return auto_class.from_config(config)


def count_work(config: PretrainedConfig) -> ModelWork:
    """Return a model's work for each token. Raises UnsupportedError for a family that the formula does not know."""
    encoder_layers, layers, width, key_width = _attention(config)
    encoder = cross = decoder = head = 0
    for name, module in model_on_meta(config).named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Embedding) or weight is None or weight.ndim != 2:
            continue
        parts = set(name.split("."))
        if "lm_head" in parts:
            head += weight.numel()
        elif parts & _CROSS_ATTENTION and parts & _KEYS_AND_VALUES:
            cross += weight.numel()
        elif "encoder" in parts:
            encoder += weight.numel()
        else:
            decoder += weight.numel()
    return ModelWork(
        prompt_parameters=encoder + cross if config.is_encoder_decoder else decoder,
        # A pair costs a product with a key and one with a value. A causal prompt looks at half of its pairs.
        prompt_pair_flops=4 * encoder_layers * width if config.is_encoder_decoder else 2 * layers * width,
        step_parameters=decoder + head,
        step_pair_flops=4 * layers * width,
        cached_values=2 * layers * key_width,
    )


def _attention(config: Any) -> tuple[int, int, int, int]:
    """Return the layers of encoder and decoder, and the widths of all heads' queries and keys."""
    kind = config.model_type
    if kind in ("t5", "mt5"):
        width = config.num_heads * config.d_kv
        return config.num_layers, config.num_decoder_layers, width, width
    if kind in ("bart", "mbart", "pegasus"):
        return config.encoder_layers, config.decoder_layers, config.d_model, config.d_model
    if kind == "gpt2":
        return 0, config.n_layer, config.n_embd, config.n_embd
    if kind in ("llama", "qwen2") and not getattr(config, "use_sliding_window", False):
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 0, config.num_hidden_layers, config.num_attention_heads * size, config.num_key_value_heads * size
    raise UnsupportedError(f"the formula does not know the model type {kind}")
