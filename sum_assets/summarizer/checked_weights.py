"""Refuses a model whose weights are not those of its configuration: transformers fills what is missing at random."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from sum_assets.errors import UserError

#: What wrappers put before every name; and what a class puts there that another one does not.
_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "base_model.model.")
_OWN = ("model.", "transformer.")
#: What checkpoints hold beside the weights, which no class asks for: constants that a model makes itself, versions of
#: fairseq, and the head for rewards that trl leaves on a trained model.
_HARMLESS = re.compile(
    r"(^|\.)(attn\.(masked_)?bias|attention\.(masked_)?bias|rotary_emb\.inv_freq|position_ids|version|"
    r"embed_positions\._float_tensor)$|^v_head\."
)
_NAMED = 3


def require_all_weights(name: str, model: Any, info: Mapping[str, Any]) -> None:
    """Raise UserError where a model was not loaded from all of its checkpoint, and from nothing else.

    `info` is what `from_pretrained` returns with `output_loading_info`. Tied weights, and those that a class declares
    optional, are not in it.
    """
    missing = sorted(key for key in info["missing_keys"] if not _computed(model, key))
    unexpected = sorted(key for key in info["unexpected_keys"] if not _harmless(key, model.config))
    mismatched = sorted((key, tuple(found), tuple(wanted)) for key, found, wanted in info["mismatched_keys"])
    reasons = []
    if missing:
        reasons.append(f"it lacks {listed(missing)}")
    if unexpected:
        reasons.append(f"it holds {listed(unexpected)}, which the model does not have")
    if mismatched:
        shapes = [f"{key} ({_shape(found)}, not {_shape(wanted)})" for key, found, wanted in mismatched]
        reasons.append(f"it holds another shape of {listed(shapes)}")
    if reasons:
        raise UserError(
            f"model: the checkpoint of {name} does not fit its configuration: {'; '.join(reasons)}. "
            f"{_remedy(missing, unexpected)}"
        )


def _remedy(missing: Collection[str], unexpected: Collection[str]) -> str:
    for prefix in (*_WRAPPERS, *_OWN):
        stripped = {key.removeprefix(prefix) for key in unexpected if key.startswith(prefix)}
        if stripped and (prefix in _WRAPPERS or stripped & set(missing)):
            return f"Strip the prefix {prefix!r} from its names, and save it again."
    if any(".lora_" in key for key in unexpected):
        return "It holds an adapter: merge it into the model (`merge_and_unload` of peft), and save that."
    return "Save it again with `save_pretrained`, or name the model that its config.json belongs to."


def _computed(model: Any, key: str) -> bool:
    """Return whether a model makes a weight itself, as PEGASUS does its sinusoids, which few checkpoints hold."""
    return "Sinusoidal" in type(model.get_submodule(key.rpartition(".")[0])).__name__


def _harmless(key: str, config: Any) -> bool:
    if _HARMLESS.search(key):
        return True
    # Old checkpoints of T5 hold a bias of cross-attention, which no T5 has used.
    cross = key.endswith("EncDecAttention.relative_attention_bias.weight")
    return cross and hasattr(config, "relative_attention_num_buckets")


def listed(names: Collection[str]) -> str:
    """Return the first names of tensors in a sentence, and how many there are beside them."""
    first = ", ".join(list(names)[:_NAMED])
    rest = len(names) - _NAMED
    return f"{first} and {rest} more" if rest > 0 else first


def _shape(shape: Collection[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"
