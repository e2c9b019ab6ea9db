"""Finds a model's files and their revision."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from transformers import AutoConfig, PretrainedConfig

from sum_assets.errors import UserError, first_line
from sum_assets.summarizer.gguf_files import convert_gguf

_WEIGHTS = ("*.safetensors", "*.bin")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "sentencepiece*.model",
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where `from_pretrained` finds a model, and the revision: a hub commit, or a hash of the files."""

    location: str
    commit: str | None
    revision: str
    config: PretrainedConfig


def find_model(model: str, revision: str) -> ModelFiles:
    """Find a hub id, folder or GGUF file. Raises UserError where it is missing or incomplete."""
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"model: there is no file {path}.")
        digest = _hash_files([path])
        folder = convert_gguf(path, digest)
        return ModelFiles(str(folder), None, f"sha256:{digest}", _config(str(folder)))
    if path.is_dir():
        _check_folder(path)
        files = sorted(
            f for f in path.iterdir() if f.suffix in (".json", ".safetensors", ".bin", ".model", ".jinja", ".txt")
        )
        return ModelFiles(str(path), None, f"sha256:{_hash_files(files)}", _config(str(path)))
    if model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise UserError(f"model: there is no folder {path}.")
    try:
        config = AutoConfig.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model: {model} at revision {revision} is neither cached here nor available from the Hugging Face Hub. "
            f"Check its name and the network, or name a folder with the model's files. Reason: {first_line(error)}"
        ) from error
    commit = getattr(config, "_commit_hash", None)
    return ModelFiles(model, commit, commit or revision, config)


def _config(folder: str) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"model: {folder}/config.json cannot be read: {first_line(error)}") from error
    return config


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise UserError(f"model: the folder {path} has no config.json. Name one that `save_pretrained` wrote.")
    if not any(next(path.glob(pattern), None) for pattern in _WEIGHTS):
        raise UserError(f"model: the folder {path} has no weights (*.safetensors or *.bin).")
    if not any(next(path.glob(pattern), None) for pattern in _TOKENIZERS):
        raise UserError(f"model: the folder {path} has no tokenizer ({', '.join(_TOKENIZERS)}).")


def _hash_files(files: list[Path]) -> str:
    """Return the first 32 hex digits of a SHA-256 over the files' names and contents."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:32]


def local_folder(files: ModelFiles) -> Path:
    """Return the folder that holds a model's files; those of a hub model are downloaded."""
    if files.commit is None:
        return Path(files.location)
    return Path(snapshot_download(files.location, revision=files.commit))
