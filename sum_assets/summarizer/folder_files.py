"""Which files of a folder a model is read from, and their hash."""

import hashlib
import json
from collections.abc import Collection, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from sum_assets.errors import UserError, first_line

#: In the order in which transformers looks for them. Where there are parts, an index beside them names these.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
WEIGHT_SUFFIXES = (".safetensors", ".bin")
#: Files that weights, configuration and tokenizer are never read from. All others count as read.
_UNREAD = (
    *(".*", "README*", "LICENSE*", "training_args.bin", "trainer_state.json", "*_results.json", "events.out.tfevents*"),
    *("optimizer*", "scheduler*", "scaler*", "rng_state*"),
    *("*.md", "*.py", "*.ipynb", "*.html", "*.csv", "*.log", "*.pdf"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.mp4"),
    *("*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel", "*.gguf", "*.ggml", "*.npz"),
    *("*.pt", "*.pth", "*.ckpt", "*.tar", "*.gz", "*.zip"),
)
#: The only subfolder that a tokenizer reads.
_TEMPLATES = "additional_chat_templates"


def list_names(folder: Path) -> list[str]:
    """Return the names of the files that a model is read from, sorted."""
    paths = [*folder.glob("*"), *folder.glob(f"{_TEMPLATES}/*")]
    return read_names(path.relative_to(folder).as_posix() for path in paths if path.is_file())


def read_names(names: Iterable[str]) -> list[str]:
    """Return those names of files that count as read, sorted."""
    kept = (name for name in names if Path(name).parent.as_posix() in (".", _TEMPLATES))
    return sorted(name for name in kept if not any(fnmatch(Path(name).name, pattern) for pattern in _UNREAD))


def weight_names(folder: Path, config: PretrainedConfig, names: Collection[str]) -> list[str]:
    """Return the names of the files that hold the weights; none where there are no weights."""
    named = getattr(config, "transformers_weights", None)
    for name in [named] if named else WEIGHT_FILES:
        if name in names:
            return [name]
        index = f"{name}.index.json"
        if index in names and (folder / index).is_file():
            return sorted(set(read_json(folder / index)["weight_map"].values()))
    return []


def hash_files(folder: Path, names: Iterable[str]) -> str:
    """Return the first 32 hex digits of a SHA-256 over the files' names and contents."""
    lines = []
    for name in names:
        with (folder / name).open("rb") as stream:
            lines.append(f"{name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}")
    return digest(lines)


def digest(lines: Iterable[str]) -> str:
    """Return the first 32 hex digits of a SHA-256 over lines."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()[:32]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds. Raises UserError where it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model: {path} is not valid JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"model: {path} does not hold a JSON object.")
    return content
