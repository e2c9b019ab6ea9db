"""Fingerprints, and models that are not to be had."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.paths import models_dir
from sum_assets.summarizer import GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.resolve import ResolvedModel


@pytest.fixture
def settings(t5: Path) -> SummarizerSettings:
    return SummarizerSettings(model=str(t5), prompt="summarize: ")


def fingerprint(settings: SummarizerSettings, **gpu: object) -> str:
    return resolve_settings(GpuSettings.model_validate({"precision": "float32", **gpu}), settings).fingerprint


def test_fingerprint_holds_what_changes_a_text_and_nothing_else(settings: SummarizerSettings, tmp_path: Path) -> None:
    resolved = resolve_settings(GpuSettings(precision="float32"), settings)
    assert isinstance(resolved, ResolvedModel)
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
        ("nobody/no-such-model", "neither cached here nor to be had"),
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
