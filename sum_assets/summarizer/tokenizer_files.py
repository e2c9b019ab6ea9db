"""Loads tokenizers, and refuses those of which transformers would make another one."""

import json
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer, NllbTokenizer, PretrainedConfig, TokenizersBackend
from transformers.models.auto.tokenization_auto import (
    MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
    tokenizer_class_from_name,
)
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

from sum_assets.errors import UnsupportedError, UserError

#: Names in a class's `vocab_files_names` that it can do without.
_OPTIONAL = frozenset({"tokenizer_file", "tokenizer_config_file", "target_vocab_file"})
#: Files that hold a whole tokenizer, which transformers reads whatever its class names.
_WHOLE = ("tokenizer.model", "tekken.json", "tiktoken.model")


def check_own_code(folder: Path, config: PretrainedConfig, name: str) -> None:
    """Raise UnsupportedError where a tokenizer is code of its own, which transformers would replace by another."""
    if config.model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS:
        return
    own = _settings(folder).get("auto_map") or []
    references = own.get("AutoTokenizer") or [] if isinstance(own, dict) else own
    classes = [str(r).rpartition(".")[2] for r in ([references] if isinstance(references, str) else references) if r]
    if classes and not any(hasattr(transformers, c) or hasattr(transformers, c.removesuffix("Fast")) for c in classes):
        raise UnsupportedError(
            f"model: the tokenizer of {name} is a {classes[0]}, by code of its own, and sum_assets runs no code that "
            "comes with a model. Name another model."
        )


def load(folder: Path, config: PretrainedConfig) -> Any:
    """Return the tokenizer of a folder. Raises what transformers does where it cannot load it."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), config=config, trust_remote_code=False)
    except Exception:
        # For some models the class that their files name is not tried.
        named = tokenizer_class_from_name(str(_settings(folder).get("tokenizer_class")))
        if named is None or named is TokenizersBackend:
            raise
        tokenizer = named.from_pretrained(str(folder))
    if isinstance(tokenizer, NllbTokenizer) and tokenizer.cur_lang_code == tokenizer.unk_token_id:
        # The languages are part of no SentencePiece model. They come after its pieces, and before the mask.
        languages = [*FAIRSEQ_LANGUAGE_CODES, "<mask>"]
        tokenizer = NllbTokenizer.from_pretrained(str(folder), mask_token=None, extra_special_tokens=languages)
    return tokenizer


def check_vocabulary(tokenizer: Any, folder: Path, name: str) -> None:
    """Raise UserError where files of the vocabulary are missing: transformers then makes up an empty or other one."""
    needed = [file for key, file in type(tokenizer).vocab_files_names.items() if key not in _OPTIONAL]
    if isinstance(tokenizer, TokenizersBackend):
        if any((folder / file).is_file() for file in ("tokenizer.json", *_WHOLE)):
            return
        needed = needed or ["tokenizer.json"]
    if missing := [file for file in needed if not (folder / file).is_file()]:
        raise UserError(
            f"model: {name} has no tokenizer that is whole: {' and '.join(missing)} of its "
            f"{type(tokenizer).__name__}, or a tokenizer.json, is missing. Add what its `save_pretrained` writes."
        )
    others = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.cls_token_id}
    if tokenizer.unk_token_id in tokenizer.encode("") and tokenizer.unk_token_id not in others:
        raise UserError(
            f"model: the tokenizer of {name} begins or ends each text with a token that its vocabulary lacks, such as "
            "a language. Name it in tokenizer_config.json, or add the tokenizer.json of the model."
        )


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return settings if isinstance(settings, dict) else {}
