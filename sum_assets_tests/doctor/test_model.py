"""Files of models that are here, missing, damaged, or still to be fetched."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from sum_assets.doctor.engines import find_once
from sum_assets.doctor.finding import Finding, findings_of
from sum_assets.doctor.model import look_at_model
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.summarizer.hub_stand_in import Hub, commit_of, serve_hub


def look(model: object) -> list[Finding]:
    settings = SummarizerSettings(model=str(model))
    return findings_of("model", "files", lambda: look_at_model(settings, find_once()))


def test_a_model_that_is_whole(t5: Path) -> None:
    assert [(f.subject, f.level) for f in look(t5)] == [("config.json", "ok"), ("tokenizer", "ok"), ("weights", "ok")]
    assert look(t5)[0].message.startswith("t5, sequence-to-sequence, revision sha256:")
    assert "in model.safetensors" in look(t5)[2].message


@pytest.mark.parametrize(
    ("missing", "message", "before"),
    [
        ("config.json", "has no config.json", []),
        ("tokenizer.json", "has no tokenizer", ["config.json"]),
        ("model.safetensors", "has no weights. transformers reads model.safetensors", []),
    ],
)
def test_a_missing_file_is_named(missing: str, message: str, before: list[str], t5: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(t5, tmp_path / "model")
    (folder / missing).unlink()
    *good, last = look(folder)
    assert [f.subject for f in good] == before
    assert (last.level, message in last.message) == ("failure", True), last


def test_weights_that_broke_off_are_noticed(t5: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(t5, tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    last = look(folder)[-1]
    assert (last.level, "cannot be loaded" in last.message) == ("failure", True), last


def test_weights_of_another_model_are_noticed(t5: Path, bart: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(t5, tmp_path / "model")
    shutil.copy(bart / "model.safetensors", folder)
    last = look(folder)[-1]
    assert (last.level, "does not fit its configuration" in last.message) == ("failure", True), last


def test_a_name_that_is_no_model() -> None:
    for model, message in (("/no/such/folder", "there is no folder"), ("lab/none", "neither cached here nor")):
        (only,) = look(model)
        assert (only.level, message in only.message) == ("failure", True)


@pytest.fixture
def hub(tmp_path: Path, t5: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve_hub("lab/tiny") as served:
        served.commits, served.refs = {commit_of(1): t5}, {"main": commit_of(1)}
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")[2]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{served.url}/{{repo_id}}{template}")
        yield served


def test_the_weights_of_a_hub_model_are_not_fetched(hub: Hub, t5: Path) -> None:
    *_, weights = look("lab/tiny")
    size = (t5 / "model.safetensors").stat().st_size
    assert weights.level == "warning"
    assert f"{size / 1e6:.3g} MB are not here yet. The first run downloads them to" in weights.message
    assert f"`hf download lab/tiny --revision {commit_of(1)} --include 'model.safetensors'`" in weights.message
    assert "model.safetensors" not in hub.fetched
    huggingface_hub.snapshot_download("lab/tiny", revision=commit_of(1))
    assert look("lab/tiny")[-1].level == "ok"
