"""Finds a model's files and their revision, and loads its tokenizer."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
)

from sum_assets.errors import UnsupportedError, UserError, first_line
from sum_assets.summarizer import hub_files, tokenizer_files
from sum_assets.summarizer.folder_files import (
    WEIGHT_FILES,
    WEIGHT_SUFFIXES,
    digest,
    hash_files,
    list_names,
    read_json,
    read_names,
    weight_names,
)
from sum_assets.summarizer.gguf_files import convert_gguf
from sum_assets.summarizer.sentencepiece_files import match_sentencepiece


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files, and their revision: a commit of the hub, or a hash of the files.

    `folder` holds all but the weights from the start; `weights_folder` returns it with the weights of a hub model.
    `commit` and `hub_id` are None where the files are the user's own.
    """

    folder: Path
    commit: str | None
    revision: str
    config: PretrainedConfig
    hub_id: str | None = None


def find_model(model: str, revision: str) -> ModelFiles:
    """Find a hub id, folder or GGUF file. Raises UserError where it is missing or incomplete.

    Of a hub model all is fetched but the weights.
    """
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"model: there is no file {path}.")
        folder = convert_gguf(path, hash_files(path.parent, [path.name]))
        # The folder's name tells the file's hash, the library that converted it, and the format.
        return ModelFiles(folder, None, f"sha256:{digest([folder.name])}", _read_config(folder, model))
    if path.is_dir():
        names = list_names(path)
        config = _read_config(path, model)
        _check_weights(path, config, names, f"the folder {path}")
        return ModelFiles(path, None, f"sha256:{hash_files(path, names)}", config)
    if model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise UserError(f"model: there is no folder {path}.")
    return _find_hub_model(model, revision)


def _find_hub_model(hub_id: str, revision: str) -> ModelFiles:
    commit = hub_files.find_commit(hub_id, revision)
    # The first call brings the list of all files too.
    folder = hub_files.fetch(hub_id, commit, ["config.json", "adapter_config.json"])
    listed = hub_files.list_names(hub_id, commit)
    if listed is not None:
        hub_files.fetch(hub_id, commit, [name for name in read_names(listed) if not name.endswith(WEIGHT_SUFFIXES)])
    config = _read_config(folder, hub_id)
    files = ModelFiles(folder, commit, commit, config, hub_id)
    if listed is None or hub_files.offline():
        _check_cached(files)
    else:
        _check_weights(folder, config, listed, f"{hub_id} at revision {revision}")
    return files


def weights_folder(files: ModelFiles) -> Path:
    """Return the folder of a model's files, weights included: those of a hub model are fetched.

    Raises UserError where they are neither cached nor to be had.
    """
    if files.hub_id and files.commit and not present_weights(files):
        listed = hub_files.list_names(files.hub_id, files.commit) or []
        hub_files.fetch(files.hub_id, files.commit, weight_names(files.folder, files.config, listed))
        _check_cached(files)
    return files.folder


def present_weights(files: ModelFiles) -> list[str]:
    """Return the names of the weights' files that are in the folder, or none if one is missing."""
    weights = weight_names(files.folder, files.config, list_names(files.folder))
    return weights if all((files.folder / name).is_file() for name in weights) else []


def load_tokenizer(files: ModelFiles) -> Any:
    """Return the model's tokenizer, the same for the same files.

    Raises UserError where transformers cannot load it, or would load another one.
    """
    return _load_tokenizer(files.folder, files.hub_id, files.revision)


@lru_cache(maxsize=4)
def _load_tokenizer(folder: Path, hub_id: str | None, _: str) -> Any:
    name = hub_id or f"the folder {folder}"
    advice = "Fetch it again with the network" if hub_id else "Add the files that its `save_pretrained` writes"
    config = _read_config(folder, name)
    # transformers knows some models by their names on the hub. A folder's name must not matter.
    config._name_or_path = hub_id or ""
    tokenizer_files.check_own_code(folder, config, name)
    try:
        tokenizer = tokenizer_files.load(folder, config)
    except Exception as error:  # what the reader of a damaged or missing file raises is not documented
        raise UserError(
            f"model: {name} has no tokenizer that transformers {transformers.__version__} can load. {advice}. "
            f"Reason: {first_line(error)}"
        ) from error
    tokenizer_files.check_vocabulary(tokenizer, folder, name)
    match_sentencepiece(tokenizer, folder, name)
    return tokenizer


def _read_config(folder: Path, model: str) -> PretrainedConfig:
    """Return a folder's configuration. Raises UserError where it is not of a model that transformers implements."""
    path = folder / "config.json"
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = read_json(adapter).get("base_model_name_or_path") or "its base model"
        raise UnsupportedError(
            f"model: {model} is an adapter of {base}. Merge the two (`merge_and_unload` of peft), save the result, and "
            "name its folder. If it is merged already, remove adapter_config.json."
        )
    if not path.is_file():
        raise UserError(
            f"model: {model} has no config.json. Name a folder that `save_pretrained` wrote, a model of the Hugging "
            "Face Hub with weights for transformers, or a GGUF file by its path."
        )
    raw = read_json(path)
    model_type = raw.get("model_type")
    if model_type is None:  # transformers would guess from the folder's name
        raise UserError(f"model: config.json of {model} has no model_type. Save the model with a newer transformers.")
    if model_type not in CONFIG_MAPPING:
        own = ", by code of its own" if raw.get("auto_map") else ""
        raise UnsupportedError(
            f"model: {model} is a {model_type}{own}. transformers {transformers.__version__} does not implement it, "
            "and sum_assets runs no code that comes with a model. Name another model."
        )
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # a value of the wrong type raises what the model's class happens to do
        raise UserError(f"model: config.json of {model} cannot be read: {first_line(error)}") from error
    _check_own_model(raw, config, model)
    return config


def _check_own_model(raw: dict[str, Any], config: PretrainedConfig, model: str) -> None:
    """Raise UnsupportedError where a model's own code is another class than the one that transformers would take."""
    auto_class: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    own = str((raw.get("auto_map") or {}).get(auto_class.__name__) or "").rpartition(".")[2]
    known = getattr(auto_class._model_mapping.get(type(config), None), "__name__", "")
    if own and own.lower() != known.lower():  # MPTForCausalLM was taken up as MptForCausalLM
        raise UnsupportedError(
            f"model: {model} is a {own}, by code of its own. transformers {transformers.__version__} does not "
            "implement it, and sum_assets runs no code that comes with a model. Name another model."
        )


def _check_cached(files: ModelFiles) -> None:
    """Raise UserError where the weights of a hub model are not in the cache."""
    if not present_weights(files):
        raise UserError(
            f"model: the weights of {files.hub_id} at commit {files.commit} are not cached here, and the Hugging Face "
            f"Hub was not reached. Check the network (HF_HUB_OFFLINE is {int(hub_files.offline())})."
        )


def _check_weights(folder: Path, config: PretrainedConfig, names: Collection[str], where: str) -> None:
    """Raise UserError where a model has no weights that transformers reads."""
    weights = weight_names(folder, config, names)
    if not weights:
        raise UserError(
            f"model: {where} has no weights. transformers reads {' or '.join(WEIGHT_FILES)}, or the parts that their "
            "index.json names."
        )
    if missing := [name for name in weights if name not in names]:
        raise UserError(f"model: {where} lacks {', '.join(missing)}, a part of its weights. Fetch the model again.")
