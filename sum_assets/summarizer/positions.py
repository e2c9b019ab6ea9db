"""Checks that prompts and summaries fit into the positions that a model knows."""

from typing import Any

from sum_assets.errors import UserError
from sum_assets.summarizer.user_settings import SummarizerSettings

#: Names of a limit in the configurations of models, the one that counts first.
_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length")
_ENCODER_NAMES = ("max_encoder_position_embeddings", "max_source_positions", *_NAMES)
_DECODER_NAMES = ("max_decoder_position_embeddings", "max_target_positions", *_NAMES)
#: Families that count positions from the one after the ID of padding, so that the first ones are never used.
_AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "prophetnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)


def check_positions(settings: SummarizerSettings, config: Any) -> None:
    """Raise UserError where a prompt or a summary, in tokens, can exceed the positions that the model knows.

    A decoder reads its start token and all tokens that it writes but the last. A causal model reads the prompt too.
    """
    prompt, summary, model = settings.max_input_tokens, settings.max_output_tokens, settings.model
    if not config.is_encoder_decoder:
        positions = _positions(_part(config, "decoder"), _NAMES)
        if positions is not None and prompt + summary > positions:
            raise UserError(
                f"max_input_tokens {prompt} and max_output_tokens {summary}, together {prompt + summary}, exceed the "
                f"{positions} positions of {model}. Lower them."
            )
        return
    positions = _positions(_part(config, "encoder"), _ENCODER_NAMES)
    if positions is not None and prompt > positions:
        raise UserError(
            f"max_input_tokens {prompt} would exceed the {positions} positions of {model} for its input. Set it to "
            f"{positions} or less."
        )
    positions = _positions(_part(config, "decoder"), _DECODER_NAMES)
    if positions is not None and summary > positions:
        raise UserError(
            f"max_output_tokens {summary} would exceed the {positions} positions of {model} for its summary. Set it "
            f"to {positions} or less."
        )


def _part(config: Any, name: str) -> Any:
    """Return the configuration of the encoder or decoder, or of the text model, where there is one inside."""
    for inner in (name, "text_config"):
        part = getattr(config, inner, None)
        if part is not None and hasattr(part, "model_type"):
            return _part(part, name)
    return config


def _positions(config: Any, names: tuple[str, ...]) -> int | None:
    """Return how many tokens a part of a model can read, or None where it sets no limit."""
    if getattr(config, "relative_attention_num_buckets", None):
        return None  # T5 and its kind: what their configurations call `n_positions` says how they were trained
    limits = (getattr(config, name, None) for name in names)
    positions = next((int(limit) for limit in limits if isinstance(limit, int | float) and limit > 0), None)
    if positions is None:
        return None
    if config.model_type in _AFTER_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    if names is _ENCODER_NAMES and hasattr(config, "max_encoder_position_embeddings"):
        positions -= positions % _window(config)  # an input is padded to a multiple of the window
    return positions


def _window(config: Any) -> int:
    windows = getattr(config, "attention_window", None) or 1
    return max(windows) if isinstance(windows, list | tuple) else int(windows)
