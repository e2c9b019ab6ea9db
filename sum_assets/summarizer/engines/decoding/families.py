"""Which models the decoder takes, and which may be padded."""

from collections.abc import Collection
from typing import Any

from sum_assets.summarizer.types import Batches

_CAUSAL = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_SEQ2SEQ = frozenset({"t5", "mt5", "bart", "mbart", "pegasus"})
#: Model families whose texts were compared with those of transformers' `generate`.
FAMILIES = _CAUSAL | _SEQ2SEQ

#: Further families that write the same text in a batch of padded inputs as alone, with transformers' `generate`.
_PADDED_CAUSAL = _CAUSAL | {
    "biogpt", "bloom", "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4",
    "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite", "granitemoe", "helium", "ministral",
    "mixtral", "mpt", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe",
    "qwen2_moe", "qwen3_moe", "smollm3", "stablelm", "starcoder2", "xglm",
}  # fmt: skip
_PADDED_SEQ2SEQ = _SEQ2SEQ | {"blenderbot", "blenderbot-small", "m2m_100", "marian", "mvp", "plbart", "umt5"}
#: Further families that write the same text in a batch without padding as alone. Of any other family this is not
#: known: the rows of a batch of RWKV change each other, and so do those that share an expert with a limit of tokens.
_EQUAL_CAUSAL = _PADDED_CAUSAL | {
    "bart", "blenderbot", "falcon", "falcon_mamba", "lfm2", "mamba", "marian", "mbart", "mvp", "pegasus", "plbart",
    "prophetnet", "qwen3_next",
}  # fmt: skip
_EQUAL_SEQ2SEQ = _PADDED_SEQ2SEQ | {"bigbird_pegasus", "led", "longt5", "pegasus_x", "prophetnet"}

#: Rules that look at no padding, neither in front of a causal model's prompt nor after what an encoder reads.
_RULES_WITHOUT_PADDING = frozenset(
    {"num_beams", "length_penalty", "early_stopping", "min_new_tokens", "forced_eos_token_id", "suppress_tokens",
     "begin_suppress_tokens", "exponential_decay_length_penalty", "renormalize_logits", "remove_invalid_values"}
)  # fmt: skip
#: Rules that look at the tokens that a decoder wrote, of which only a causal model's are padded.
_RULES_ON_WRITTEN_TOKENS = frozenset(
    {"repetition_penalty", "no_repeat_ngram_size", "min_length", "bad_words_ids", "sequence_bias",
     "forced_bos_token_id"}
)  # fmt: skip
#: Kinds of rotary embeddings that are the same for any length.
_FIXED_ROPE = frozenset({"default", "linear", "llama3", "yarn", "proportional"})


def see_padding(rules: Collection[str], *, encoder_decoder: bool) -> bool:
    """Return whether one of a model's generation rules looks at the padding of a batch."""
    blind = _RULES_WITHOUT_PADDING | (_RULES_ON_WRITTEN_TOKENS if encoder_decoder else set())
    return not blind.issuperset(rules)


def can_decode(config: Any, rules: Collection[str], tokens: int) -> bool:
    """Return whether a model is of a tried family, decodes greedily and attends to all of its input and output.

    `rules` are those of its generation settings; `tokens` is the limit of input and output together.
    """
    families = _SEQ2SEQ if config.is_encoder_decoder else _CAUSAL
    greedy = not {"num_beams", "stop_strings"} & set(rules)
    return config.model_type in families and greedy and _sees_all(config, tokens) and _rope_is_fixed(config, tokens)


def can_capture(config: Any) -> bool:
    """Return whether steps can be captured: rotary embeddings must not depend on the longest input."""
    return _rope_types(config) <= _FIXED_ROPE - {"proportional"}


def choose_batches(config: Any, rules: Collection[str], tokens: int) -> Batches:
    """Return which inputs may share a batch in which `generate` writes the same text for each as alone.

    `rules` and `tokens` are those of `can_decode`.
    """
    encoder_decoder = bool(config.is_encoder_decoder)
    # In a batch, what follows a stop string cannot be told from what was written before it.
    if "stop_strings" in rules or config.model_type not in (_EQUAL_SEQ2SEQ if encoder_decoder else _EQUAL_CAUSAL):
        return "single"
    padded = config.model_type in (_PADDED_SEQ2SEQ if encoder_decoder else _PADDED_CAUSAL)
    blind = not see_padding(rules, encoder_decoder=encoder_decoder)
    return "any lengths" if padded and blind and _rope_is_fixed(config, tokens) else "equal lengths"


def _sees_all(config: Any, tokens: int) -> bool:
    """Return whether no layer's window is narrower than `tokens`. Not every family names the types of its layers."""
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    narrowest = min((window for window in windows if window is not None), default=None)
    if narrowest is not None:
        return bool(tokens <= narrowest)
    return set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}


def _rope_is_fixed(config: Any, tokens: int) -> bool:
    """Return whether rotary embeddings are the same for all inputs, however long the others of their batch are."""
    if _rope_types(config) <= _FIXED_ROPE:
        return True
    lengths = [getattr(config, "max_position_embeddings", None) or 0]
    lengths += [rope.get("original_max_position_embeddings") or lengths[0] for rope in _ropes(config)]
    return bool(tokens <= min(lengths))


def _rope_types(config: Any) -> set[str]:
    return {str(rope.get("rope_type", "default")) for rope in _ropes(config)}


def _ropes(config: Any) -> list[dict[str, Any]]:
    """Return the parameters of rotary embeddings, which some families have for each type of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return nested or [parameters]
