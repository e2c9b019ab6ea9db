"""The chat template: its date, its options, its part in the fingerprint, and the token that ends a turn."""

import pickle
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import chat_template_utils

from sum_assets.defs.resources import SummarizerResource
from sum_assets.errors import UserError
from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    SummarizerSettings,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.generation_rules import stop_tokens
from sum_assets.summarizer.model_files import load_tokenizer
from sum_assets_tests.summarizer.chat_models import resolve, save_chat_model
from sum_assets_tests.summarizer.tokenizers import CHAT_TOKENS, CHATML, TEMPLATES, byte_level

DATED = "{{'<|im_start|>system\nToday Date: ' + strftime_now('%d %b %Y') + '<|im_end|>\n'}}" + CHATML
OWN_DATE = (
    "{% if not date_string is defined %}{% set date_string = '01 Feb 2020' %}{% endif %}{{ date_string }}" + CHATML
)
SWITCHED = (
    CHATML + "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}off{% endif %}"
)


def chat_model(folder: Path, template: str | None, eos_token_id: int | None = 1, **named: str | None) -> Path:
    tokenizer = byte_level(*CHAT_TOKENS, "<|endoftext|>", **named)
    tokenizer.chat_template = template
    return save_chat_model(folder, tokenizer, eos_token_id)


def tail_and_head(folder: Path, **settings: Any) -> tuple[str, str]:
    """Return the text before and after an abstract, out of the token ids in the fingerprint."""
    text_settings = resolve(folder, **settings).text_settings()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    return tokenizer.decode(text_settings["prompt_head"]), tokenizer.decode(text_settings["prompt_tail"])


def test_the_fingerprint_holds_head_and_tail_of_the_prompt(tmp_path: Path) -> None:
    head, tail = tail_and_head(chat_model(tmp_path, CHATML))
    assert head.startswith("<|im_start|>user\nSummarize:")
    assert tail == "<|im_end|>\n<|im_start|>assistant\n"


def test_resolved_settings_go_to_other_processes(tmp_path: Path) -> None:
    resolved = resolve(chat_model(tmp_path, SWITCHED), chat_template_options={"enable_thinking": False})
    assert pickle.loads(pickle.dumps(resolved)).fingerprint == resolved.fingerprint


def test_the_date_is_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = chat_model(tmp_path, DATED)
    first = resolve(folder)
    assert "Today Date: 26 Jul 2024" in tail_and_head(folder)[0]

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Later":
            return cls(2031, 1, 1)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert resolve(folder).fingerprint == first.fingerprint
    assert "Today Date: 05 Mar 2025" in tail_and_head(folder, chat_template_date="2025-03-05")[0]
    assert resolve(folder, chat_template_date="2025-03-05").fingerprint != first.fingerprint


def test_a_templates_own_date_gives_way_to_the_setting_alone(tmp_path: Path) -> None:
    folder = chat_model(tmp_path, OWN_DATE)
    assert "01 Feb 2020" in tail_and_head(folder)[0]
    assert "05 Mar 2025" in tail_and_head(folder, chat_template_date="2025-03-05")[0]
    options = {"date_string": "tomorrow"}
    assert "tomorrow" in tail_and_head(folder, chat_template_date="2025-03-05", chat_template_options=options)[0]


@pytest.mark.parametrize("day", ["26.07.2024", "2024-13-01", "20240726", "2024-07-26T10:00:00", ""])
def test_a_date_that_is_none_is_an_error(day: str) -> None:
    with pytest.raises(ValidationError, match="chat_template_date is a day as YYYY-MM-DD"):
        SummarizerSettings(chat_template_date=day)


def test_a_date_of_yaml_is_one() -> None:
    settings = SummarizerSettings.model_validate({"chat_template_date": date(2025, 3, 5)})
    assert settings.chat_template_date == "2025-03-05"


def test_options_reach_the_template(tmp_path: Path) -> None:
    folder = chat_model(tmp_path, SWITCHED)
    options = {"enable_thinking": False}
    assert tail_and_head(folder, chat_template_options=options)[1] == "<|im_end|>\n<|im_start|>assistant\noff"
    assert resolve(folder).fingerprint != resolve(folder, chat_template_options=options).fingerprint


@pytest.mark.parametrize(
    ("template", "options", "message"),
    [
        (SWITCHED, {"enable_thinkng": False}, "does not read enable_thinkng. It reads enable_thinking."),
        (CHATML, {"enable_thinking": False}, "does not read enable_thinking, nor any option."),
        (None, {"enable_thinking": False}, "no chat template is applied to this model. Leave them out."),
    ],
)
def test_an_option_that_would_do_nothing_is_an_error(
    tmp_path: Path, template: str | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"chat_template_options: .*{message}"):
        resolve(chat_model(tmp_path, template), chat_template_options=options)


def test_a_sequence_to_sequence_model_has_no_options(t5: Path) -> None:
    with pytest.raises(UserError, match="chat_template_options: no chat template is applied"):
        resolve(t5, max_input_tokens=64, chat_template_options={"enable_thinking": False})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"messages": []}, "must not set messages"),
        ({"tokenize": False, "add_generation_prompt": False}, "must not set add_generation_prompt, tokenize"),
        ({"tools": []}, "must not set tools"),
        ({"x": None}, "x is null"),
        ({"x": float("nan")}, "more than JSON"),
        ({"x": {1, 2}}, "more than JSON"),
        ({"x": {1: 2}}, "keys of nested options are texts"),
    ],
)
def test_options_are_plain_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SummarizerSettings(chat_template_options=options)


def test_options_are_run_configuration() -> None:
    seen = []

    @dg.asset
    def probe(summarizer: SummarizerResource) -> None:
        seen.append(summarizer.settings())

    config = {"chat_template_options": {"enable_thinking": False, "levels": {"a": [1, 2.5]}}, "thoughts": "cut"}
    run_config = {"resources": {"summarizer": {"config": config}}}
    resources = {"summarizer": SummarizerResource()}
    assert dg.materialize([probe], resources=resources, run_config=run_config).success
    assert seen == [SummarizerSettings.model_validate(config)]


def test_a_prompt_without_room_is_refused_before_loading(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_input_tokens 8 leaves no room"):
        resolve(chat_model(tmp_path, CHATML), max_input_tokens=8)


def stops(folder: Path) -> list[str]:
    files = resolve(folder).files
    tokenizer = load_tokenizer(files)
    return tokenizer.convert_ids_to_tokens(stop_tokens(files, tokenizer))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("chatml", "<|im_end|>"),
        ("gemma", "<end_of_turn>"),
        ("llama 3", "<|eot_id|>"),
        ("phi", "<|end|>"),
        ("llama 2", "</s>"),
        ("mistral", "</s>"),
        ("zephyr", "</s>"),
        ("vicuna", "</s>"),
        ("alpaca", None),  # it shows no turn of the assistant
    ],
)
def test_the_token_that_ends_a_turn_stops(tmp_path: Path, name: str, turn: str | None) -> None:
    folder = chat_model(
        tmp_path, TEMPLATES[name], eos_token_id=byte_level(*CHAT_TOKENS, "<|endoftext|>").vocab["<|endoftext|>"]
    )
    assert stops(folder) == ["<|endoftext|>", *([turn] if turn else [])]


def test_what_begins_the_next_turn_stops_where_nothing_ends_one(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}<|assistant|>"  # GLM 4
    template = template.replace("<|assistant|>", "{% if add_generation_prompt %}<|assistant|>{% endif %}")
    assert stops(chat_model(tmp_path, template)) == ["</s>", "<|user|>"]


def test_without_a_chat_template_the_models_own_tokens_stop(tmp_path: Path) -> None:
    assert stops(chat_model(tmp_path, None, eos_token="<|im_end|>")) == ["</s>"]
    assert stops(chat_model(tmp_path, None, None, eos_token="<|im_end|>")) == ["<|im_end|>"]


def test_a_model_that_no_token_stops_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no token ends its texts"):
        resolve(chat_model(tmp_path, None, None, eos_token=None))


def test_a_fine_tune_of_a_base_ends_with_its_turn(tmp_path: Path) -> None:
    folder = chat_model(tmp_path, CHATML)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.lm_head.weight.data[turn] *= 4
    model.save_pretrained(folder)
    settings = SummarizerSettings(model=str(folder), prompt="Summarize: ", max_input_tokens=200, max_output_tokens=60)
    engine = open_summarizer(resolve_settings(GpuSettings(device="cpu", precision="float32"), settings))
    texts = ["Cells divide.", "We measured genes in mice.", "Naive cells were counted twice, 12 weeks on."]
    results = [r for rs in engine.summarize([Abstract(i, t) for i, t in enumerate(texts)], Phases()) for r in rs]
    ended = 0
    for result in results:
        if not isinstance(result, Summary):
            ended += 1  # it ended at once
            continue
        message = [{"role": "user", "content": "Summarize: " + texts[result.abstract_id]}]
        inputs = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt")
        output = model.generate(**inputs, do_sample=False, max_new_tokens=60, eos_token_id=[1, turn])
        new = output[0, inputs.input_ids.shape[1] :]
        assert result.text == tokenizer.decode(new, skip_special_tokens=True).strip()
        assert result.output_tokens == len(new)
        ended += result.finish_reason == "stop"
    assert ended
