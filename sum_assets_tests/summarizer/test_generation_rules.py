"""Generation settings of models: held as transformers' `generate` holds them row by row, or refused by name."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BigBirdPegasusConfig,
    BigBirdPegasusForConditionalGeneration,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    Rejection,
    SummarizerSettings,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.engine_registry import BEAM_RULES, GENERATION_RULES
from sum_assets.summarizer.generation_rules import DECIDED, REFUSED, SPECIAL_TOKENS, WITHOUT_EFFECT
from sum_assets_tests.tiny_models import HUB_BART, WORDS, save_causal, sentence

INPUTS, OUTPUTS = 40, 14
#: Twelve texts, some of them equally long.
TEXTS = {i: sentence(10**6 + i, (3, 30, 22, 8, 8, 12, 30, 5, 3, 17, 8, 25)[i]) for i in range(12)}


def run(folder: Path, num_beams: int = 1, **gpu: object) -> dict[int, Summary | Rejection]:
    settings = SummarizerSettings(
        model=str(folder), prompt="", max_input_tokens=INPUTS, max_output_tokens=OUTPUTS, num_beams=num_beams
    )
    values = {"device": "cpu", "precision": "float32", **gpu}
    engine = open_summarizer(resolve_settings(GpuSettings.model_validate(values), settings))
    lists = engine.summarize([Abstract(i, text) for i, text in TEXTS.items()], Phases())
    results = [result for finished in lists for result in finished]
    assert sorted(result.abstract_id for result in results) == list(TEXTS)
    return {result.abstract_id: result for result in results}


def texts_of(results: dict[int, Summary | Rejection]) -> dict[int, str]:
    return {i: result.text if isinstance(result, Summary) else "" for i, result in results.items()}


def reference(folder: Path, num_beams: int = 1, **options: Any) -> dict[int, str]:
    """Return what transformers' own `generate` writes, row by row, from a freshly loaded model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    seq2seq = AutoConfig.from_pretrained(folder).is_encoder_decoder
    auto: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    texts = {}
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    for i, text in TEXTS.items():
        inputs = tokenizer(text, truncation=True, max_length=INPUTS, return_tensors="pt")
        output = model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            do_sample=False,
            num_beams=num_beams,
            max_new_tokens=OUTPUTS,
            **options,
        )
        rows = output if torch.is_tensor(output) else output.sequences
        written = rows[0] if seq2seq else rows[0, inputs.input_ids.shape[1] :]
        texts[i] = str(tokenizer.decode(written, skip_special_tokens=True)).strip()
    return texts


def with_settings(folder: Path, copy: Path, **values: object) -> Path:
    """Return a copy of a model with these generation settings."""
    shutil.copytree(folder, copy)
    path = copy / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return copy


@pytest.fixture(params=["t5", "causal"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "t5":
        return request.getfixturevalue("t5")  # type: ignore[no-any-return]
    save_causal(tmp_path / "causal")
    return tmp_path / "causal"


def test_every_field_of_transformers_is_held_or_refused_or_without_effect() -> None:
    kinds = [DECIDED, SPECIAL_TOKENS, WITHOUT_EFFECT, set(REFUSED), set(GENERATION_RULES), set(BEAM_RULES)]
    assert sum(map(len, kinds)) == len(set().union(*kinds)), "none is two kinds"
    assert set().union(*kinds) == {field for field in vars(GenerationConfig()) if not field.startswith("_")}
    assert set(REFUSED) <= set(ASKED)
    for rule, idle in REFUSED.items():
        default = GenerationConfig._get_default_generation_params().get(rule)
        assert default in idle
    for rule, value in {**GENERATION_RULES, **BEAM_RULES}.items():
        assert GenerationConfig._get_default_generation_params().get(rule, value) == value or rule == "min_new_tokens"


ASKED: dict[str, object] = {
    "max_time": 5.0,
    "guidance_scale": 1.5,
    "penalty_alpha": 0.6,
    "dola_layers": "high",
    "num_beam_groups": 2,
    "diversity_penalty": 0.5,
    "constraints": [{}],
    "force_words_ids": [[5]],
    "token_healing": True,
    "watermarking_config": {"greenlist_ratio": 0.5},
    "use_mtp": True,
    "is_assistant": True,
    "prompt_lookup_num_tokens": 3,
    "assistant_early_exit": 1,
    "assistant_ensemble_weight": 0.5,
    "cache_implementation": "quantized",
    "forced_decoder_ids": [[1, 5]],
    "a_rule_of_tomorrow": 0,
}


@pytest.mark.parametrize("rule", ASKED)
def test_a_rule_that_nothing_holds_is_refused_by_name(rule: str, t5: Path, tmp_path: Path) -> None:
    folder = with_settings(t5, tmp_path / "model", **{"num_beams": 4, rule: ASKED[rule]})
    for engine in ("transformers", "ctranslate2"):
        with pytest.raises(UnsupportedError, match=rf"set {rule} to .*, which no engine applies here\. Name another"):
            run(folder, engine=engine)


def test_settings_without_effect_change_nothing(model: Path, tmp_path: Path) -> None:
    values: dict[str, object] = {
        "do_sample": True, "temperature": 0.7, "top_k": 4, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.9,
        "epsilon_cutoff": 0.01, "num_beams": 4, "num_return_sequences": 3, "max_length": 7, "max_new_tokens": 3,
        "output_scores": True, "output_logits": True, "output_hidden_states": True, "output_attentions": True,
        "return_dict_in_generate": True, "use_cache": False, "cache_implementation": "static",
        "num_assistant_tokens": 5, "low_memory": True, "guidance_scale": 1.0, "num_beam_groups": 1,
        "diversity_penalty": 0.0, "_note": 3, "chat_format": "chatml", "an_idle_rule": None,
    }  # fmt: skip
    folder = with_settings(model, tmp_path / "model", **values)
    for num_beams in (1, 4):
        expected = reference(model, num_beams)
        assert len(set(expected.values())) > 6
        assert texts_of(run(folder, num_beams, batch_size=5)) == expected


def test_rules_in_config_json_hold_where_there_are_no_generation_settings(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "old")
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    old = {"suppress_tokens": list(range(4, 20)), "task_specific_params": {"summarization": {"num_beams": 4}}}
    (folder / "config.json").write_text(json.dumps(config | old))
    expected = reference(folder)
    assert expected != reference(model)
    assert texts_of(run(folder, batch_size=5)) == expected
    with pytest.raises(UnsupportedError, match=r"engine vllm"):
        run(folder, engine="vllm")


def test_generation_settings_that_are_not_valid_are_named(t5: Path, tmp_path: Path) -> None:
    folder = with_settings(t5, tmp_path / "model", num_return_sequences=3)  # for one beam
    with pytest.raises(UserError, match=r"the generation settings of .* are not valid: .*num_return_sequences"):
        run(folder)
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(UserError, match=r"the generation settings of .* are not valid"):
        run(folder)


def test_a_model_without_a_start_token_is_refused(t5: Path, tmp_path: Path) -> None:
    folder = with_settings(t5, tmp_path / "model", decoder_start_token_id=None, bos_token_id=None)
    with pytest.raises(UserError, match=r"no token begins its texts\. Set decoder_start_token_id"):
        run(folder)


#: Rules, with values that change texts of the models here.
HELD: dict[str, dict[str, object]] = {
    "repetition_penalty": {"repetition_penalty": 1.4},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.4},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 2},
    "min_length": {"min_length": 14},
    "min_new_tokens": {"min_new_tokens": 9},
    "min_length is overridden": {"min_length": 14, "min_new_tokens": 0},
    "forced_bos_token_id": {"forced_bos_token_id": 9},
    "forced_eos_token_id": {"forced_eos_token_id": 1},
    "suppress_tokens": {"suppress_tokens": list(range(4, 20))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(4, 20))},
    "bad_words_ids": {"bad_words_ids": [[i] for i in range(4, 20)]},
    "sequence_bias": {"sequence_bias": [[[i], -9.0] for i in range(4, 20)]},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [1, 1.5]},
    "renormalize and remove": {"renormalize_logits": True, "remove_invalid_values": True},
    "beams": {"length_penalty": 2.0, "early_stopping": True},
    "never": {"length_penalty": -1.0, "early_stopping": "never"},
    "as BART's on the hub": {
        "length_penalty": 2.0,
        "early_stopping": True,
        "min_length": 8,
        "no_repeat_ngram_size": 3,
        "forced_bos_token_id": 3,
        "forced_eos_token_id": 1,
    },
}


@pytest.mark.parametrize("rule", HELD)
def test_a_rule_holds_at_any_batch_size_as_row_by_row(rule: str, model: Path, tmp_path: Path) -> None:
    # The padding is a token like any other, and the last of the vocabulary ends a text too.
    values = {"pad_token_id": 9, "eos_token_id": [1, 3 + len(WORDS)], **HELD[rule]}
    folder = with_settings(model, tmp_path / "model", **values)
    expected = reference(folder)
    for batch_size in (1, 5, 12):
        assert texts_of(run(folder, batch_size=batch_size)) == expected
    assert texts_of(run(folder, batch_size=12, attention="eager")) == expected
    assert texts_of(run(folder, 3, batch_size=12)) == reference(folder, 3)


def test_stop_strings_end_a_text_as_row_by_row(tmp_path: Path) -> None:
    # transformers finds stop strings in the vocabularies of subwords alone.
    spelling = Tokenizer(BPE())
    spelling.pre_tokenizer, spelling.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    trainer = BpeTrainer(vocab_size=320, special_tokens=["<pad>", "</s>"], initial_alphabet=ByteLevel.alphabet())
    spelling.train_from_iterator(TEXTS.values(), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelling, pad_token="<pad>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
        max_position_embeddings=128, initializer_range=0.6, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    free_folder = tmp_path / "free"
    LlamaForCausalLM(config).save_pretrained(free_folder)
    tokenizer.save_pretrained(free_folder)
    free = reference(free_folder)
    letters = Counter(letter for text in free.values() for letter in set(text) if letter.isascii() and letter.isalpha())
    (stop, _), *_ = letters.most_common()
    folder = with_settings(free_folder, tmp_path / "model", stop_strings=[stop])
    expected = reference(folder, tokenizer=tokenizer)
    assert expected != free
    results = run(folder, batch_size=12)
    assert texts_of(results) == expected
    for result in results.values():
        assert isinstance(result, Summary)
        assert (result.finish_reason == "length") == (result.output_tokens == OUTPUTS)
    assert {result.finish_reason for result in results.values() if isinstance(result, Summary)} == {"stop", "length"}
    assert _resolved(folder)["batches"] == "single"


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_forced_end_does_not_hide_that_a_summary_was_capped(num_beams: int, tmp_path: Path) -> None:
    save_causal(tmp_path / "causal")
    folder = with_settings(tmp_path / "causal", tmp_path / "model", forced_eos_token_id=1)
    for result in run(folder, num_beams, batch_size=5).values():
        assert isinstance(result, Summary)
        assert (result.finish_reason == "length") == (result.output_tokens == OUTPUTS)
        assert result.finish_reason == "length"  # it writes words alone


def _resolved(folder: Path, **gpu: object) -> dict[str, Any]:
    settings = SummarizerSettings(model=str(folder), prompt="", max_input_tokens=INPUTS, max_output_tokens=OUTPUTS)
    resolved = resolve_settings(GpuSettings.model_validate({"device": "cpu", "precision": "float32", **gpu}), settings)
    assert "batches" not in resolved.text_settings()
    return resolved.all_settings()


def save(model: Any, like: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    return folder


def test_a_window_narrower_than_the_input_holds(tmp_path: Path) -> None:
    save_causal(tmp_path / "causal")
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=4 + len(WORDS) + 1, hidden_size=48, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, head_dim=8, max_position_embeddings=512, initializer_range=0.6,
        sliding_window=8, pad_token_id=0, eos_token_id=1, bos_token_id=3,
    )  # fmt: skip
    folder = save(MistralForCausalLM(config), tmp_path / "causal", tmp_path / "mistral")
    expected = reference(folder)
    for gpu in ({"batch_size": 5}, {"batch_size": 12}, {"batch_size": 12, "attention": "eager"}):
        assert texts_of(run(folder, **gpu)) == expected
    config.sliding_window = 512
    assert reference(save(MistralForCausalLM(config), tmp_path / "causal", tmp_path / "wide")) != expected


def test_families_whose_rows_change_each_other_run_alone_and_say_so(t5: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 4 + len(WORDS) + 1, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3}
    model = RwkvForCausalLM(RwkvConfig(hidden_size=48, attention_hidden_size=48, num_hidden_layers=2, **sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    folder = save(model, t5, tmp_path / "rwkv")
    expected = reference(folder)
    assert len(set(expected.values())) > 6
    assert texts_of(run(folder, batch_size=12)) == texts_of(run(folder, batch_size=5)) == expected
    assert _resolved(folder)["batches"] == "single"
    assert _resolved(t5)["batches"] == "any lengths"
    with pytest.raises(UnsupportedError, match=r"num_beams 3: .* is a rwkv, whose state .* Set num_beams: 1"):
        run(folder, num_beams=3)


def test_a_short_input_leaves_the_attention_of_others_as_it_was(t5: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BigBirdPegasusConfig(
        vocab_size=4 + len(WORDS) + 1, d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=6,
        decoder_attention_heads=6, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64, block_size=2,
        num_random_blocks=1, init_std=0.5, pad_token_id=0, eos_token_id=1, bos_token_id=3, decoder_start_token_id=3,
    )  # fmt: skip
    folder = save(BigBirdPegasusForConditionalGeneration(config), t5, tmp_path / "bigbird")
    expected = {}
    for i, text in TEXTS.items():  # a fresh model for each, since a short input changes it for good
        model = BigBirdPegasusForConditionalGeneration.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(text, return_tensors="pt").input_ids
        written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=OUTPUTS)
        expected[i] = str(tokenizer.decode(written[0], skip_special_tokens=True)).strip()
    assert reference(folder) != expected
    for batch_size in (1, 5, 12):
        assert texts_of(run(folder, batch_size=batch_size)) == expected
    assert _resolved(folder)["batches"] == "equal lengths"


CTRANSLATE2: dict[str, dict[str, object]] = {
    "nothing, and some texts are empty": {},
    "minimum": {"min_length": 5},
    "new minimum": {"min_new_tokens": 3, "min_length": 12},
    "first token": {"forced_bos_token_id": 9, "min_length": 5},
    "n-grams and last token": {"no_repeat_ngram_size": 2, "forced_eos_token_id": [20, 12]},
    "as BART's on the hub": HELD["as BART's on the hub"],
}


@pytest.fixture(scope="module", params=["t5", "bart"])
def untrained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, t5: Path) -> Path:
    """A model of which some texts end at once, others never."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 4 + len(WORDS) + 1, "pad_token_id": 0, "eos_token_id": 1, "d_model": 48}
    model: Any
    if request.param == "t5":
        sizes |= {"tie_word_embeddings": False, "decoder_start_token_id": 0}
        config = T5Config(d_kv=8, d_ff=64, num_layers=2, num_heads=6, initializer_factor=4.0, **sizes)
        model = T5ForConditionalGeneration(config)
        model.lm_head.weight.data[0] = 0
        model.lm_head.weight.data[1] *= 1.5
    else:
        model = BartForConditionalGeneration(
            BartConfig(
                encoder_layers=2, decoder_layers=2, encoder_attention_heads=6, decoder_attention_heads=6,
                encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128, init_std=0.5, bos_token_id=3,
                decoder_start_token_id=1, forced_eos_token_id=None, **HUB_BART, **sizes,
            )
        )  # fmt: skip
        model.final_logits_bias[0, 1] += 6
    return save(model, t5, tmp_path_factory.mktemp("untrained") / request.param)


@pytest.mark.parametrize("case", CTRANSLATE2)
def test_rules_that_ctranslate2_names_hold_as_row_by_row(case: str, untrained: Path, tmp_path: Path) -> None:
    folder = with_settings(untrained, tmp_path / "model", **CTRANSLATE2[case])
    expected = reference(folder)
    assert len(set(expected.values())) > 5
    for batch_size in (1, 5, 12):
        results = run(folder, batch_size=batch_size, engine="ctranslate2")
        assert texts_of(results) == expected
        if "forced_eos_token_id" in CTRANSLATE2[case]:
            for result in results.values():
                assert isinstance(result, Rejection) or (result.finish_reason == "length") == (
                    result.output_tokens == OUTPUTS
                )


@pytest.mark.parametrize("rules", [{"repetition_penalty": 1.2}, {"no_repeat_ngram_size": 1}, {"stop_strings": ["a"]}])
def test_rules_that_ctranslate2_would_apply_otherwise_are_refused(
    rules: dict[str, object], t5: Path, tmp_path: Path
) -> None:
    folder = with_settings(t5, tmp_path / "model", **rules)
    (rule,) = rules
    with pytest.raises(UnsupportedError, match=f"engine ctranslate2 does not apply {rule}"):
        run(folder, engine="ctranslate2")
    with pytest.raises(UnsupportedError, match="num_beams 2: engine ctranslate2 is greedy"):
        run(t5, 2, engine="ctranslate2")
