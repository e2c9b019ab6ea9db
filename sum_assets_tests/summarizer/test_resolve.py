"""Fingerprints, models that cannot be found, and rules that an engine would drop."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.paths import models_dir
from sum_assets.summarizer import GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.model_settings import ModelSettings


@pytest.fixture
def settings(t5: Path) -> SummarizerSettings:
    return SummarizerSettings(model=str(t5), prompt="summarize: ")


def fingerprint(settings: SummarizerSettings, **gpu: object) -> str:
    return resolve_settings(GpuSettings.model_validate({"precision": "float32", **gpu}), settings).fingerprint


def test_fingerprint_holds_what_changes_a_text_and_nothing_else(settings: SummarizerSettings, tmp_path: Path) -> None:
    resolved = resolve_settings(GpuSettings(precision="float32"), settings)
    assert isinstance(resolved, ModelSettings)
    base = resolved.fingerprint
    assert fingerprint(settings, batch_size=3) == fingerprint(settings, device="cpu", attention="sdpa") == base
    moved = shutil.copytree(settings.model, tmp_path / "moved")
    assert fingerprint(settings.model_copy(update={"model": str(moved)})) == base
    (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
    others = [
        fingerprint(settings.model_copy(update={"model": str(moved)})),
        replace(resolved, precision="bfloat16").fingerprint,
        fingerprint(settings, attention="eager"),
        fingerprint(settings, quantization="int8"),
        *(
            fingerprint(settings.model_copy(update=change))
            for change in (
                {"prompt": "explain: "},
                {"max_input_tokens": 64},
                {"max_output_tokens": 8},
                {"num_beams": 2},
            )
        ),
    ]
    assert len({base, *others}) == len(others) + 1


def test_no_auto_is_left(settings: SummarizerSettings) -> None:
    resolved = resolve_settings(GpuSettings(), settings)
    assert "auto" not in json.dumps(resolved.all_settings())


def test_models_that_are_not_whole_are_named(t5: Path, tmp_path: Path) -> None:
    for missing, message in (
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ):
        folder = shutil.copytree(t5, tmp_path / missing)
        (folder / missing).unlink()
        with pytest.raises(UserError, match=message):
            fingerprint(SummarizerSettings(model=str(folder)))
    for model, message in (
        (str(tmp_path / "none"), "there is no folder"),
        (str(tmp_path / "none.gguf"), "there is no file"),
        ("nobody/no-such-model", "neither cached here nor available"),
    ):
        with pytest.raises(UserError, match=message):
            fingerprint(SummarizerSettings(model=model))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"cannot be converted"):
        fingerprint(SummarizerSettings(model=str(broken)))
    assert not list(models_dir().glob("*broken*/")), "nothing half-built is left"


def test_limits_beyond_the_model_are_named(bart: Path) -> None:
    with pytest.raises(UserError, match=r"max_input_tokens 672 .* exceed the 128 positions"):
        fingerprint(SummarizerSettings(model=str(bart)))


def test_a_model_that_cannot_generate_is_unsupported(tmp_path: Path, t5: Path) -> None:
    folder = shutil.copytree(t5, tmp_path / "vit")
    (folder / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UnsupportedError, match=r"is a vit"):
        fingerprint(SummarizerSettings(model=str(folder)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch_size", 0, "batch_size is at least 1, not 0"),
        ("device", "gpu", "device is auto, cpu, cuda, cuda:N or mps, not 'gpu'"),
        ("precision", "fp8", "precision"),
        ("quantization", "int2", "quantization"),
    ],
)
def test_bad_gpu_settings_are_named(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GpuSettings.model_validate({field: value})


def with_rules(folder: Path, copy: Path, **rules: object) -> SummarizerSettings:
    """Return settings for a copy of a model whose generation settings have these rules."""
    shutil.copytree(folder, copy)
    path = copy / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | rules))
    return SummarizerSettings(model=str(copy), max_input_tokens=32, max_output_tokens=16)


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize(
    ("engine", "rules"),
    [
        ("ctranslate2", {"suppress_tokens": [5]}),
        ("ctranslate2", {"repetition_penalty": 1.2}),
        ("ctranslate2", {"encoder_no_repeat_ngram_size": 3}),
    ],
)
def test_a_rule_that_an_engine_would_drop_is_refused_by_name(
    engine: str, rules: dict[str, object], t5: Path, tmp_path: Path
) -> None:
    settings = with_rules(t5, tmp_path / "model", **rules)
    (rule,) = rules
    with pytest.raises(UnsupportedError, match=f"engine {engine} does not apply {rule}, .*Set engine: transformers"):
        fingerprint(settings, device="cpu", engine=engine)
    fingerprint(settings, device="cpu", engine="transformers")


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize(
    ("engine", "rule", "value"),
    [
        ("vllm", "no_repeat_ngram_size", 3),
        ("vllm", "min_new_tokens", 2),
        ("openvino", "no_repeat_ngram_size", 3),
        ("openvino", "suppress_tokens", [5]),
        ("openvino", "min_new_tokens", 2),
    ],
)
def test_a_causal_model_s_rule_that_would_be_dropped_is_refused(
    engine: str, rule: str, value: object, causal: Path, tmp_path: Path
) -> None:
    settings = with_rules(causal, tmp_path / "model", **{rule: value})
    with pytest.raises(UnsupportedError, match=f"engine {engine} does not apply {rule}"):
        fingerprint(settings, device="cpu", engine=engine)


#: Rules that each engine applies, and values that ask for nothing.
APPLIED: dict[str, dict[str, object]] = {
    "ctranslate2": {"no_repeat_ngram_size": 3, "forced_eos_token_id": 1, "min_length": 2, "forced_bos_token_id": 0},
    "openvino": {"repetition_penalty": 1.2},
    "vllm": {"repetition_penalty": 1.2},
}
NOT_ASKED: dict[str, object] = {
    "repetition_penalty": 1.0,
    "min_length": 0,
    "no_repeat_ngram_size": 0,
    "length_penalty": 2.0,  # there is one beam
    "early_stopping": True,
    "num_beams": 4,  # our own setting takes its place
    "suppress_tokens": [],
    "do_sample": True,
    "top_k": 50,
}


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("engine", list(APPLIED))
def test_rules_that_an_engine_applies_and_default_values_are_served(
    engine: str, t5: Path, causal: Path, tmp_path: Path
) -> None:
    folder = t5 if engine == "ctranslate2" else causal
    fingerprint(with_rules(folder, tmp_path / "applied", **APPLIED[engine]), device="cpu", engine=engine)
    fingerprint(with_rules(folder, tmp_path / "not-asked", **NOT_ASKED), device="cpu", engine=engine)
