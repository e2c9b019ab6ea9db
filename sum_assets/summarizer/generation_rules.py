"""The rules that a model's generation settings ask for, and the tokens that end a text."""

from typing import Any

from transformers import GenerationConfig

from sum_assets.summarizer.engine_registry import BEAM_RULES, GENERATION_RULES
from sum_assets.summarizer.model_files import ModelFiles


def generation_config(files: ModelFiles) -> GenerationConfig:
    """Return a model's own generation settings, from their file or from the model's configuration."""
    try:
        return GenerationConfig.from_pretrained(files.location, revision=files.commit or "main")
    except OSError:
        return GenerationConfig.from_model_config(files.config)


def generation_rules(files: ModelFiles, num_beams: int) -> dict[str, Any]:
    """Return the rules that a model's generation settings ask for, and `num_beams` where there are several.

    Default values ask for nothing. A first token cannot be forced on a causal model, which goes on from its prompt.
    """
    config = generation_config(files)
    beams = {"num_beams": num_beams} if num_beams > 1 else {}
    defaults = {**GENERATION_RULES, **(BEAM_RULES if beams else {})}
    if not files.config.is_encoder_decoder:
        del defaults["forced_bos_token_id"]
    values = {rule: getattr(config, rule, None) for rule in defaults}
    return beams | {r: value for r, value in values.items() if value not in (None, [], {}, defaults[r])}


def stop_tokens(files: ModelFiles, tokenizer: Any) -> list[int]:
    """Return the ids that end a text: those of the model's generation settings, else the tokenizer's own."""
    config = generation_config(files)
    stops = tokenizer.eos_token_id if config.eos_token_id is None else config.eos_token_id
    return stops if isinstance(stops, list) else [stops]
