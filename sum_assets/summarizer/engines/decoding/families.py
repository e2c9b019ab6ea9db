"""Which models the decoder takes."""

from typing import Any

#: Model families whose texts were compared with those of transformers' `generate`.
FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "t5", "mt5", "bart", "mbart", "pegasus"})


def can_decode(model: Any) -> bool:
    """Return whether a model is of a tried family, decodes greedily and attends to all of its input."""
    config = model.config
    longest = getattr(config, "max_position_embeddings", None) or 0
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    sees_all = set(layers) == {"full_attention"} or (window is not None and window >= longest)
    return config.model_type in FAMILIES and model.generation_config.num_beams == 1 and sees_all


def can_capture(model: Any) -> bool:
    """Return whether steps can be captured: rotary embeddings must not depend on the longest input."""
    rope = getattr(model.config, "rope_parameters", None) or {}
    return can_decode(model) and rope.get("rope_type", "default") in ("default", "linear", "llama3", "yarn")
