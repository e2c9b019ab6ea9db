"""Models in GGUF files: what llama.cpp would read is what we read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.paths import models_dir
from sum_assets.summarizer.model_files import find_model, load_tokenizer
from sum_assets_tests.summarizer.test_model_files import T5_IDS, TEXTS, train_sentencepiece
from sum_assets_tests.tiny_models import tiny_tokenizer


def write(writer: Any) -> None:
    """Write a GGUF file in the order that its writer asks for."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_t5(path: Path, original: Any, model: T5ForConditionalGeneration, **added: int) -> None:
    """Write a T5 as llama.cpp's converter does."""
    gguf = pytest.importorskip("gguf")
    config = model.config
    writer = gguf.GGUFWriter(str(path), "t5")
    writer.add_name("t5")
    writer.add_context_length(512)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_block_count(config.num_layers)
    writer.add_head_count(config.num_heads)
    writer.add_key_length(config.d_kv)
    writer.add_value_length(config.d_kv)
    writer.add_relative_attn_buckets_count(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_decoder_start_token_id(0)
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    ids = range(len(original))
    writer.add_token_list([original.id_to_piece(i).encode() for i in ids])
    writer.add_token_scores([original.get_score(i) for i in ids])
    writer.add_token_types([2 if original.is_unknown(i) else 3 if original.is_control(i) else 1 for i in ids])
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    charsmap = proto_of(original).normalizer_spec.precompiled_charsmap
    writer.add_precompiled_charsmap(charsmap)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(2)
    for name, token_id in added.items():
        getattr(writer, f"add_{name}_token_id")(token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5, config.num_layers)
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.scale_decoder_outputs:  # the first T5 ties it
            continue
        key = "shared.weight" if key.endswith("embed_tokens.weight") else key
        tensors.setdefault(names.get_name(key, try_suffixes=(".weight", ".bias")), value.float().numpy())
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    write(writer)


def proto_of(original: Any) -> Any:
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(original.serialized_model_proto())
    return proto


@pytest.mark.parametrize("activation", ["gated-gelu", "relu"])
def test_a_t5_in_a_gguf_file_is_the_model_that_it_was_made_from(activation: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.tsv"
    rules.write_text("FB01\t66 69\n9\t20\nA0\t20\nB5\t3BC\n")  # a whole table takes the reader ten seconds
    original = train_sentencepiece(tmp_path / "sp", **T5_IDS, normalization_rule_tsv=str(rules))
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(original), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, initializer_factor=4.0,
            feed_forward_proj=activation, tie_word_embeddings=activation == "relu", pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=0,  # type: ignore[call-arg]
        )
    ).eval()  # fmt: skip
    path = tmp_path / f"t5-{activation}.gguf"
    write_t5(path, original, model, eot=5, eom=6)
    files = find_model(str(path), "main")
    tokenizer = load_tokenizer(files)
    for text in TEXTS:
        assert tokenizer(text).input_ids == [*original.encode(text), 1]
    converted = T5ForConditionalGeneration.from_pretrained(files.folder)
    ids = torch.tensor([tokenizer(TEXTS[0]).input_ids])
    with torch.no_grad():
        logits = [m(input_ids=ids, decoder_input_ids=ids).logits for m in (model, converted)]
    assert torch.equal(*logits)
    assert GenerationConfig.from_pretrained(files.folder).eos_token_id == [1, 5, 6]
    assert files.folder.parent == models_dir()


def test_a_gguf_file_that_lacks_tensors_is_refused(tmp_path: Path) -> None:
    original = train_sentencepiece(tmp_path / "sp", **T5_IDS, normalization_rule_name="identity")
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=len(original), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    )
    del model.decoder.final_layer_norm
    path = tmp_path / "lacking.gguf"
    write_t5(path, original, model)
    with pytest.raises(UserError, match=r"lacks 1 of the tensors of its t5, decoder.final_layer_norm.weight"):
        find_model(str(path), "main")
    assert not list(models_dir().glob("*lacking*/"))


def llama(tokenizer: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-6, pad_token_id=0, eos_token_id=1,
        bos_token_id=3,
    )  # fmt: skip
    model: LlamaForCausalLM = LlamaForCausalLM(config)
    model.eval()
    return model


def write_llama(path: Path, tokenizer: Any, model: LlamaForCausalLM, split: str, **ids: int) -> None:
    """Write a Llama with a vocabulary on the level of bytes as llama.cpp's converter does."""
    gguf = pytest.importorskip("gguf")
    config: Any = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i in tokenizer.all_special_ids else 1 for i in range(len(tokens))])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(3)
    writer.add_eos_token_id(1)
    for name, token_id in ids.items():
        getattr(writer, f"add_{name}_token_id")(token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for key, value in model.state_dict().items():
        tensor = value.float().numpy()
        if key.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp rotates pairs that lie side by side
            heads = len(tensor) // config.head_dim
            tensor = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight",)), np.ascontiguousarray(tensor))
    write(writer)


@pytest.mark.parametrize("split", ["gpt-2", "smollm", "llama-bpe"])
def test_a_llama_in_a_gguf_file_is_the_model_that_it_was_made_from(split: str, tmp_path: Path) -> None:
    original = tiny_tokenizer(frame="", byte_level=True)
    model = llama(original)
    path = tmp_path / f"llama-{split}.gguf"
    write_llama(path, original, model, split, eot=5, eom=6)
    files = find_model(str(path), "main")
    tokenizer = load_tokenizer(files)
    text = "bale bane un ro 12 kale"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    words = original("bale bane kale", add_special_tokens=False).input_ids
    assert tokenizer("bale bane kale", add_special_tokens=False).input_ids == words
    converted = LlamaForCausalLM.from_pretrained(files.folder)
    with torch.no_grad():
        logits = [m(input_ids=torch.tensor([ids])).logits for m in (model, converted)]
    assert torch.equal(*logits)
    assert GenerationConfig.from_pretrained(files.folder).eos_token_id == [1, 5, 6]


def test_a_gguf_file_that_splits_words_in_an_unknown_way_is_refused(tmp_path: Path) -> None:
    original = tiny_tokenizer(frame="", byte_level=True)
    path = tmp_path / "unknown-split.gguf"
    write_llama(path, original, llama(original), "mine")
    with pytest.raises(UnsupportedError, match=r"splits texts into words as 'mine', which sum_assets does not know"):
        find_model(str(path), "main")
    assert not list(models_dir().glob("unknown-split*/"))


def test_a_gguf_file_in_parts_is_refused(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "part.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_uint16("split.count", 3)
    write(writer)
    with pytest.raises(UserError, match=r"is one of 3 parts\. Put them together with `llama-gguf-split --merge`"):
        find_model(str(path), "main")
