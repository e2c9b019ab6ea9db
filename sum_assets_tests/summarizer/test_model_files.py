"""Models in folders and GGUF files: what is read, what is hashed, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    BitsAndBytesConfig,
    ByT5Tokenizer,
    LlamaForCausalLM,
    ProphetNetTokenizer,
    T5ForConditionalGeneration,
)

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer import GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.model_files import find_model, load_tokenizer
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets_tests.tiny_models import save_untrained_t5

TEXTS = [
    "Statins lower LDL cholesterol (mmol/L) in 1,234 patients; p<0.001.",
    "  Two  spaces,\ta tab and\u00a0others ",
    "The ﬁrst ½ of µg/mL — naïve β-catenin",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An untrained T5."""
    save_untrained_t5(tmp_path / "model")
    return tmp_path / "model"


def resolve(folder: Path, **gpu: object) -> ModelSettings:
    settings = SummarizerSettings(model=str(folder), prompt="", max_input_tokens=32, max_output_tokens=8)
    resolved = resolve_settings(GpuSettings.model_validate({"device": "cpu", "precision": "float32", **gpu}), settings)
    assert isinstance(resolved, ModelSettings)
    return resolved


def change(path: Path, **values: object) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | values))


@pytest.mark.parametrize(
    "name",
    [
        "source.spm",
        "merges.txt",
        "chat_template.jinja",
        "additional_chat_templates/short.jinja",
        "dict.vocab",
        "prophetnet.tokenizer",
        "added_tokens.json",
        "tokenizer.model.v3",
        "model-extra.safetensors",
    ],
)
def test_every_file_that_may_be_read_is_in_the_fingerprint(name: str, folder: Path) -> None:
    revision = find_model(str(folder), "main").revision
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    added = find_model(str(folder), "main").revision
    (folder / name).write_text('{"one": 1}')
    assert len({revision, added, find_model(str(folder), "main").revision}) == 3


def test_files_that_are_never_read_are_not_in_the_fingerprint(folder: Path) -> None:
    revision = find_model(str(folder), "main").revision
    for name in (
        *("README.md", ".gitattributes", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"),
        *("tf_model.h5", "flax_model.msgpack", "trainer_state.json", "checkpoint-5/model.safetensors", "onnx/a.onnx"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert find_model(str(folder), "main").revision == revision


def without_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config))


def in_parts(folder: Path) -> None:
    T5ForConditionalGeneration.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: change(f / "adapter_config.json", base_model_name_or_path="a/b"), r"is an adapter of a/b\. Merge"),
        (lambda f: change(f / "config.json", model_type="mynet"), r"is a mynet\. transformers .* not implement"),
        (
            lambda f: change(f / "config.json", model_type="mynet", auto_map={"AutoConfig": "a.B"}),
            r"is a mynet, by code of its own\. ",
        ),
        (
            lambda f: change(f / "config.json", auto_map={"AutoModelForSeq2SeqLM": "modeling_my.MyT5"}),
            r"is a MyT5, by code of its own\. ",
        ),
        (
            lambda f: change(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tok.MyTokenizer", None]}),
            r"the tokenizer of .* is a MyTokenizer, by code of its own",
        ),
        (without_type, "config.json of .* has no model_type"),
        (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
        (in_parts, r"lacks model-00002-of-.*, a part of its weights"),
        (lambda f: (f / "model.safetensors").rename(f / "model.fp16.safetensors"), "has no weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "has no tokenizer that transformers .* can load"),
    ],
)
def test_what_is_not_held_is_refused_by_name(spoil: Callable[[Path], Any], message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message):
        resolve(folder)


def test_a_vocabulary_without_its_merges_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    change(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "<|endoftext|>": 2}))
    with pytest.raises(UserError, match=r"has no tokenizer that transformers .* can load"):
        resolve(folder)


def without_tokenizer(folder: Path) -> Path:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    return folder


def test_tokenizers_without_a_usual_name_load(folder: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "words"
    words = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[X_SEP]", *"abcdefg"]
    vocabulary.write_text("\n".join(words))
    for tokenizer in (ByT5Tokenizer(), ProphetNetTokenizer(str(vocabulary))):
        tokenizer.save_pretrained(without_tokenizer(folder))
        loaded = load_tokenizer(resolve(folder).files)
        assert type(loaded) is type(tokenizer)
        assert loaded("a bad cage").input_ids == tokenizer("a bad cage").input_ids


def train_sentencepiece(path: Path, **options: object) -> Any:
    """Train a SentencePiece model on a little text, and return it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    words = ("statins lower cholesterol in patients with heart failure and cells of mice the a first " * 2).split()
    texts = [" ".join(words[i % 15 :: 1 + i % 5]) + f" {i}, (p<0.{i}) µg/mL β" for i in range(300)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(path), minloglevel=2, **{"vocab_size": SIZE, **options}
    )
    return sentencepiece.SentencePieceProcessor(model_file=f"{path}.model")


SIZE = 90
T5_IDS: dict[str, object] = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
LLAMA: dict[str, object] = {
    "model_type": "bpe",
    "byte_fallback": True,
    "vocab_size": 350,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
}


@pytest.mark.parametrize(
    ("tokenizer_class", "model_type", "file", "options", "offset", "first", "last"),
    [
        ("T5Tokenizer", "t5", "spiece.model", T5_IDS, 0, [], [1]),
        ("T5Tokenizer", "umt5", "spiece.model", T5_IDS, 0, [], [1]),
        ("PegasusTokenizer", "pegasus", "spiece.model", T5_IDS, 103, [], [1]),
        ("MBartTokenizer", "mbart", "sentencepiece.bpe.model", {}, 1, [], [2, SIZE + 1 + 3]),
        ("MBart50Tokenizer", "mbart", "sentencepiece.bpe.model", {}, 1, [SIZE + 1 + 3], [2]),
        ("NllbTokenizer", "m2m_100", "sentencepiece.bpe.model", {}, 1, [SIZE + 1 + 46], [2]),
        ("NllbTokenizer", "m2m_100", "sentencepiece.bpe.model", {"model_type": "bpe"}, 1, [SIZE + 1 + 46], [2]),
        ("LlamaTokenizer", "llama", "tokenizer.model", LLAMA, 0, [1], []),
    ],
)
def test_a_sentencepiece_model_alone_gives_its_own_ids(
    tokenizer_class: str,
    model_type: str,
    file: str,
    options: dict[str, object],
    offset: int,
    first: list[int],
    last: list[int],
    folder: Path,
    tmp_path: Path,
) -> None:
    original = train_sentencepiece(tmp_path / "sp", **options)
    shutil.copy(tmp_path / "sp.model", without_tokenizer(folder) / file)
    change(folder / "tokenizer_config.json", tokenizer_class=tokenizer_class, add_bos_token=first == [1])
    change(folder / "config.json", **AutoConfig.for_model(model_type).to_dict())
    tokenizer = load_tokenizer(find_model(str(folder), "main"))
    unknown = tokenizer.unk_token_id
    for text in TEXTS if "normalization_rule_name" not in options else TEXTS[:1] + TEXTS[2:]:
        ids = [unknown if i == original.unk_id() else i + offset for i in original.encode(text)]
        assert tokenizer(text).input_ids == [*first, *ids, *last]


def test_a_sentencepiece_model_that_is_read_otherwise_is_refused(folder: Path, tmp_path: Path) -> None:
    # A prefix that the conversion of Llama always adds.
    train_sentencepiece(tmp_path / "sp", **LLAMA | {"add_dummy_prefix": False})
    shutil.copy(tmp_path / "sp.model", without_tokenizer(folder) / "tokenizer.model")
    change(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(UnsupportedError, match=r"reads tokenizer.model of .* otherwise than SentencePiece does"):
        resolve(folder)


def save_quantized(folder: Path, causal: Path) -> None:
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    model = LlamaForCausalLM.from_pretrained(causal, quantization_config=quantization, device_map={"": "cpu"})
    model.save_pretrained(folder)
    for path in causal.glob("tokenizer*"):
        shutil.copy(path, folder)


@pytest.mark.usefixtures("echo")
def test_a_quantized_checkpoint_is_held_as_it_is(causal: Path, tmp_path: Path) -> None:
    save_quantized(tmp_path / "nf4", causal)
    resolved = resolve(tmp_path / "nf4")
    settings = resolved.text_settings()
    assert settings["quantization"] == "bitsandbytes nf4"
    assert "bitsandbytes" in settings["versions"]
    for quantization in ("nf4", "int8"):
        with pytest.raises(
            UnsupportedError, match=r"is quantized already \(bitsandbytes nf4\)\. Set quantization: none"
        ):
            resolve(tmp_path / "nf4", quantization=quantization)
    with pytest.raises(UnsupportedError, match=r"engine vllm does not hold .*Set engine: transformers"):
        resolve(tmp_path / "nf4", engine="vllm")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("gptq", "is quantized as gptq 4 bits, and gptqmodel is not installed"),
        ("awq", "is quantized as awq 4 bits, and gptqmodel is not installed"),
        ("fp8", "is quantized as fp8"),
        ("mine", "is quantized as mine, which sum_assets does not know"),
    ],
)
def test_a_quantization_that_is_not_served_is_refused_by_name(method: str, message: str, causal: Path) -> None:
    bits = {"bits": 4} if method in ("gptq", "awq") else {}
    change(causal / "config.json", quantization_config={"quant_method": method, **bits})
    with pytest.raises(UnsupportedError, match=message):
        resolve(causal)
