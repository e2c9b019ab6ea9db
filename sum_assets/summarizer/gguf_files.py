"""Models in GGUF files: converted once to a folder that `from_pretrained` reads."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Regex, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    T5Config,
)
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from sum_assets.errors import UnsupportedError, UserError, first_line
from sum_assets.summarizer.conversions import build_once
from sum_assets.summarizer.sentencepiece_files import write_unigram_model

#: Part of the folder's name, so that a folder which an older version wrote is not taken for ours. Raise it with
#: every change of what is written.
_FORMAT = 2
#: How byte-level vocabularies split texts, by llama.cpp's names: as GPT-2, or with each digit on its own.
_LIKE_GPT2 = frozenset({"gpt-2", "jais", "mpt", "olmo", "phi-2", "roberta-bpe"})
_SINGLE_DIGITS = frozenset({"codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"})
#: Tokens that end a text: of the text, of a turn, of a message.
_ENDS = ("eos", "eot", "eom")


def convert_gguf(gguf: Path, digest: str) -> Path:
    """Return the folder of a GGUF file's dequantized weights and tokenizer, made on first use.

    Raises UserError where the file is damaged, or holds what would be read otherwise than llama.cpp reads it.
    """

    def build(folder: Path) -> None:
        if importlib.util.find_spec("gguf") is None:
            raise UserError(f"model: {gguf} needs the library gguf: `pip install 'sum-assets[gguf]'`.")
        transformers.utils.logging.disable_progress_bar()
        # The reader of GGUF files calls tqdm itself, which ignores that switch; the library's own bar obeys it.
        gguf_reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
        gguf_reader.tqdm = transformers.utils.logging.tqdm
        try:
            metadata = _Metadata(gguf)
            _check_whole(gguf, metadata)
            _convert_weights(gguf, metadata, folder)
            _convert_tokenizer(gguf, metadata, folder)
        except UserError:
            raise
        except Exception as error:  # what the reader of a damaged file raises is not documented
            raise UserError(f"model: {gguf} cannot be converted: {first_line(error)}") from error

    return build_once(f"{gguf.stem}-{digest[:12]}-transformers-{transformers.__version__}-{_FORMAT}", build)


class _Metadata:
    """The keys and values of a GGUF file."""

    def __init__(self, gguf: Path) -> None:
        reader = importlib.import_module("gguf").GGUFReader(str(gguf))
        self._fields = reader.fields
        self.tensors = [tensor.name for tensor in reader.tensors]

    def get(self, key: str, default: Any = None) -> Any:
        return self._fields[key].contents() if key in self._fields else default

    def tokenizer(self, key: str, default: Any = None) -> Any:
        return self.get(f"tokenizer.ggml.{key}", default)


def _check_whole(gguf: Path, metadata: _Metadata) -> None:
    if (parts := metadata.get("split.count", 1)) > 1:
        raise UserError(f"model: {gguf} is one of {parts} parts. Put them together with `llama-gguf-split --merge`.")


def _convert_weights(gguf: Path, metadata: _Metadata, folder: Path) -> None:
    source, name = str(gguf.parent), gguf.name
    config = AutoConfig.from_pretrained(source, gguf_file=name)
    if isinstance(config, T5Config):
        config = _t5_config(config, metadata)
    auto_class: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    options: dict[str, Any] = {"config": config, "gguf_file": name}
    if hasattr(transformers, "GgufConfig"):  # newer versions keep the blocks packed by default
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model, loaded = auto_class.from_pretrained(source, output_loading_info=True, **options)
    # Tensors that are missing would be filled at random.
    if missing := sorted({*loaded["missing_keys"], *(str(key) for key in loaded["mismatched_keys"])}):
        raise UserError(
            f"model: {gguf} lacks {len(missing)} of the tensors of its {config.model_type}, {missing[0]} for one. Get "
            "the file again, or name the model that it was made from."
        )
    generation: GenerationConfig = model.generation_config
    ids = [metadata.tokenizer(f"{end}_token_id") for end in _ENDS]
    ends = [token_id for token_id in dict.fromkeys(ids) if token_id is not None]
    generation.eos_token_id = ends if len(ends) > 1 else (ends or [None])[0]
    model.save_pretrained(folder)


def _t5_config(config: T5Config, metadata: _Metadata) -> T5Config:
    """Return a T5's configuration with what its tensors tell, where the reader takes Flan-T5's half for granted."""
    gated = any(".ffn_gate." in name for name in metadata.tensors)
    layers = {int(name.split(".")[2]) for name in metadata.tensors if name.startswith("dec.blk.")}
    settings = config.to_dict() | {
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "num_decoder_layers": len(layers),
    }
    for derived in ("dense_act_fn", "is_gated_act", "model_type"):
        settings.pop(derived, None)
    return type(config)(**settings)


def _convert_tokenizer(gguf: Path, metadata: _Metadata, folder: Path) -> None:
    kind, split = metadata.tokenizer("model"), metadata.tokenizer("pre")
    if kind == "t5":
        _write_unigram(metadata, folder)
        return
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    if kind == "gpt2" and split not in GGUF_PRE_TOKENIZER_SPLITS:
        if split not in _LIKE_GPT2 | _SINGLE_DIGITS:
            raise UnsupportedError(
                f"model: {gguf} splits texts into words as {split!r}, which sum_assets does not know. Name the model "
                "that it was made from."
            )
        steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
        if split in _SINGLE_DIGITS:
            steps.insert(0, pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"))
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.save_pretrained(folder)


def _write_unigram(metadata: _Metadata, folder: Path) -> None:
    """Write a T5's tokenizer as the SentencePiece model that it comes from."""
    tokens, types = metadata.tokenizer("tokens"), metadata.tokenizer("token_type")
    write_unigram_model(
        folder / "spiece.model",
        list(zip(tokens, metadata.tokenizer("scores"), types, strict=True)),
        charsmap=bytes(bytearray(b & 255 for b in metadata.tokenizer("precompiled_charsmap", []))),
        prefix=metadata.tokenizer("add_space_prefix", True),
        collapse=metadata.tokenizer("remove_extra_whitespaces", True),
    )
    special = {"eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    ids = {token: metadata.tokenizer(f"{key}_token_id") for token, key in special.items()}
    settings = {token: tokens[token_id] for token, token_id in ids.items() if token_id is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", **settings}))
