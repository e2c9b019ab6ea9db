"""Finds a model's files and their revision; converts a GGUF file once and caches the result."""

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from filelock import FileLock
from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PretrainedConfig

from sum_assets.errors import UserError, first_line
from sum_assets.paths import models_dir

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
    """Find a hub id, folder or GGUF file. Raises UserError where it is not to be had or not whole."""
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"model: there is no file {path}.")
        digest = _hash_files([path])
        folder = _converted(path, digest)
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
            f"model: {model} at revision {revision} is neither cached here nor to be had from the Hugging Face Hub. "
            f"Check its name and the network, or name a folder with the model's files. Reason: {first_line(error)}"
        ) from error
    commit = getattr(config, "_commit_hash", None)
    return ModelFiles(model, commit, commit or revision, config)


def generation_config(files: ModelFiles) -> GenerationConfig:
    """Return a model's own settings for generation, or what its configuration says of them."""
    try:
        return GenerationConfig.from_pretrained(files.location, revision=files.commit or "main")
    except OSError:
        return GenerationConfig.from_model_config(files.config)


def stop_tokens(files: ModelFiles, tokenizer: Any) -> list[int]:
    """Return the ids that end a text: those of the model's generation settings, else the tokenizer's own."""
    own = generation_config(files)
    stops = tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id
    return stops if isinstance(stops, list) else [stops]


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


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of a conversion, made on first use.

    It is built aside under a lock and renamed when it is whole, so that nobody sees half of it.
    """
    folder = models_dir() / name
    models_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            building = Path(tempfile.mkdtemp(dir=models_dir(), prefix=".building-"))
            try:
                build(building)
                building.rename(folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder


def local_folder(files: ModelFiles) -> Path:
    """Return the folder that holds a model's files; those of a hub model are downloaded."""
    if files.commit is None:
        return Path(files.location)
    return Path(snapshot_download(files.location, revision=files.commit))


def _converted(gguf: Path, digest: str) -> Path:
    """Return the folder of a GGUF file's dequantized weights and tokenizer, made on first use."""

    def build(folder: Path) -> None:
        if importlib.util.find_spec("gguf") is None:
            raise UserError(f"model: {gguf} needs the library gguf: `pip install 'sum-assets[gguf]'`.")
        transformers.utils.logging.disable_progress_bar()
        # The reader of GGUF files calls tqdm itself, which ignores that switch; the library's own bar obeys it.
        gguf_reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
        gguf_reader.tqdm = transformers.utils.logging.tqdm
        source, name = str(gguf.parent), gguf.name
        options = {}
        if hasattr(transformers, "GgufConfig"):  # newer versions keep the blocks packed unless told
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        try:
            model = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, **options)
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(folder)
        except Exception as error:  # what the reader of a damaged file raises is not documented
            raise UserError(f"model: {gguf} cannot be converted: {first_line(error)}") from error

    return build_once(f"{gguf.stem}-{digest[:12]}-transformers-{transformers.__version__}", build)
