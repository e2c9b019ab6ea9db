"""The rules that a model's generation settings ask for, and the tokens that end a text.

A model's own `GenerationConfig` is never used as it is. Each of its fields is a rule that we hold, or one that we
refuse by name, or has no effect on a text that is decoded greedily or by beams.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from transformers import GenerationConfig

from sum_assets.errors import UnsupportedError, UserError, first_line
from sum_assets.summarizer.chat_template import end_of_turn
from sum_assets.summarizer.engine_registry import BEAM_RULES, GENERATION_RULES
from sum_assets.summarizer.model_files import ModelFiles

#: Fields that our own settings decide.
DECIDED = frozenset({"do_sample", "max_length", "max_new_tokens", "num_beams", "num_return_sequences"})
#: Ids that a model needs, whatever the rules.
SPECIAL_TOKENS = frozenset({"bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id"})
#: Fields that change no text: they are about sampling, about what `generate` returns besides the text, about speed
#: and memory, or about an assistant model, which we never have.
WITHOUT_EFFECT = frozenset(
    {
        "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
        "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
        "use_cache", "cache_config", "max_cache_len", "compile_config", "disable_compile", "low_memory",
        "prefill_chunk_size", "continuous_batching_config", "num_assistant_tokens", "num_assistant_tokens_schedule",
        "assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind", "max_matching_ngram_size",
        "speculation_type", "transformers_version",
    }
)  # fmt: skip
#: Rules that no engine holds, with the values that ask for nothing.
REFUSED: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "max_time": (None,),
        "guidance_scale": (None, 1),
        "penalty_alpha": (None, 0),
        "dola_layers": (None,),
        "num_beam_groups": (None, 1),
        "diversity_penalty": (None, 0),
        "constraints": (None, []),
        "force_words_ids": (None, []),
        "token_healing": (None, False),
        "watermarking_config": (None, {}),
        "use_mtp": (None, False),
        "is_assistant": (None, False),
        "prompt_lookup_num_tokens": (None,),
        "assistant_early_exit": (None,),
        "assistant_ensemble_weight": (None,),
        # The other kinds of cache hold the same numbers.
        "cache_implementation": (
            None, "dynamic", "offloaded", "static", "offloaded_static", "sliding_window", "hybrid", "hybrid_chunked",
            "offloaded_hybrid", "offloaded_hybrid_chunked",
        ),
    }
)  # fmt: skip
#: Keys of generation_config.json that transformers does not know and that name no rule.
_NOTES = frozenset(
    {"task_specific_params", "trust_remote_code", "torch_dtype", "dtype", "model_type", "architectures", "chat_format",
     "max_window_size", "user_token_id", "assistant_token_id"}
)  # fmt: skip


def generation_config(files: ModelFiles) -> GenerationConfig:
    """Return a model's own generation settings as transformers reads them: those of config.json if it has no others.

    Raises UserError where they are not valid.
    """
    from_model = _generation_file(files) is None
    # Not those of `files.config`, from which transformers removes the rules.
    options: dict[str, Any] = {"config_file_name": "config.json", "_from_model_config": True} if from_model else {}
    try:
        return GenerationConfig.from_pretrained(str(files.folder), **options)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _invalid(files, error) from error


def _generation_file(files: ModelFiles) -> dict[str, Any] | None:
    """Return what generation_config.json says, or None where there is none."""
    path = files.folder / "generation_config.json"
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _invalid(files, error) from error
    return values


def _invalid(files: ModelFiles, error: Exception) -> UserError:
    return UserError(
        f"model: the generation settings of {files.hub_id or files.folder} are not valid: {first_line(error)}"
    )


def generation_rules(files: ModelFiles, num_beams: int) -> dict[str, Any]:
    """Return the rules that a model's generation settings ask for, and `num_beams` where there are several.

    Default values ask for nothing. The model's own number of beams is ours to decide. Raises UnsupportedError for a
    rule that no engine holds.
    """
    config = generation_config(files)
    refused = {rule: getattr(config, rule) for rule, idle in REFUSED.items() if getattr(config, rule) not in idle}
    for rule, value in (refused | _unknown_rules(files)).items():
        raise UnsupportedError(
            f"model: its generation settings set {rule} to {value}, which no engine applies here. Name another model, "
            f"or a copy of this one without {rule} in generation_config.json."
        )
    beams = {"num_beams": num_beams} if num_beams > 1 else {}
    defaults = {**GENERATION_RULES, **(BEAM_RULES if beams else {})}
    if config.min_new_tokens is not None:  # transformers then ignores the other
        del defaults["min_length"]
    values = {rule: getattr(config, rule) for rule in defaults}
    return beams | {r: value for r, value in values.items() if value not in (None, [], {}, "", defaults[r])}


def _unknown_rules(files: ModelFiles) -> dict[str, Any]:
    """Return what generation_config.json asks for under names that transformers does not know."""
    known = vars(GenerationConfig()).keys() | _NOTES
    return {
        key: value
        for key, value in (_generation_file(files) or {}).items()
        if key not in known
        and not key.startswith("_")
        and value is not None
        and value is not False  # which 0 equals
        and value not in ([], {}, "")
    }


def stop_tokens(files: ModelFiles, tokenizer: Any) -> list[int]:
    """Return the ids that end a text: those of the model's generation settings, else the tokenizer's own.

    For a causal model with a chat template, the token that ends a turn there is among them. A fine-tune's generation
    settings are often those of its base, which knew no turns. Raises UserError where there is none.
    """
    stops = generation_config(files).eos_token_id
    if stops is None:
        stops = tokenizer.eos_token_id
    ids = [] if stops is None else list(stops) if isinstance(stops, list | tuple) else [stops]
    if tokenizer.chat_template and not files.config.is_encoder_decoder:
        turn = end_of_turn(tokenizer)
        if turn is not None and turn not in ids:
            ids.append(turn)
    if not ids:
        raise UserError(
            "model: no token ends its texts, neither in its generation settings nor in its tokenizer. Set "
            "eos_token_id in its generation_config.json."
        )
    return ids


def check_start_token(files: ModelFiles) -> None:
    """Raise UserError where no token begins the texts of a sequence-to-sequence model."""
    config = generation_config(files)
    if files.config.is_encoder_decoder and config.decoder_start_token_id is None and config.bos_token_id is None:
        raise UserError(
            "model: no token begins its texts. Set decoder_start_token_id in its generation_config.json, to the value "
            "that it was trained with."
        )


def padding_token(files: ModelFiles, tokenizer: Any) -> int:
    """Return the id that fills up a batch, which no mask lets through: any id does where a model names none."""
    named = (generation_config(files).pad_token_id, tokenizer.pad_token_id, stop_tokens(files, tokenizer)[0])
    return next(token for token in named if token is not None)


def held_generation_config(
    files: ModelFiles, rules: Mapping[str, Any], max_output_tokens: int, tokenizer: Any
) -> GenerationConfig:
    """Return settings for `generate` with these rules, the model's special tokens and our limit, and nothing else."""
    config = generation_config(files)
    return GenerationConfig(
        **{"num_beams": 1, **rules},
        do_sample=False,
        max_new_tokens=max_output_tokens,
        bos_token_id=config.bos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=stop_tokens(files, tokenizer),
        pad_token_id=padding_token(files, tokenizer),
    )
