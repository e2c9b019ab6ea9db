"""Models in GGUF files: converted once to a folder that `from_pretrained` reads."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from sum_assets.errors import UserError, first_line
from sum_assets.summarizer.conversions import build_once


def convert_gguf(gguf: Path, digest: str) -> Path:
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
        if hasattr(transformers, "GgufConfig"):  # newer versions keep the blocks packed by default
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        try:
            model = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, **options)
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(folder)
        except Exception as error:  # what the reader of a damaged file raises is not documented
            raise UserError(f"model: {gguf} cannot be converted: {first_line(error)}") from error

    return build_once(f"{gguf.stem}-{digest[:12]}-transformers-{transformers.__version__}", build)
