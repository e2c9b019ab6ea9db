"""Models of the hub: one commit, one folder, online and from the cache alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

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
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets_tests.summarizer.hub_stand_in import Hub, cache_model, commit_of, serve_hub
from sum_assets_tests.summarizer.test_model_files import T5_IDS, train_sentencepiece, without_tokenizer
from sum_assets_tests.tiny_models import save_untrained_t5, sentence

HUB_ID = "lab/tiny"
FIRST, SECOND = commit_of(1), commit_of(2)
TEXT = sentence(1, 8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two commits of a model, which write different texts."""
    folders = [tmp_path_factory.mktemp(f"commit{seed}") for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        save_untrained_t5(folder, seed)
    return folders


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = huggingface_hub.constants
    with serve_hub(HUB_ID) as served:
        served.commits = dict(zip((FIRST, SECOND), folders, strict=True))
        served.refs = {"main": FIRST, "v2": SECOND}
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")[2]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{served.url}/{{repo_id}}{template}")
        yield served


def resolve(revision: str = "main", model: str = HUB_ID, **gpu: object) -> ModelSettings:
    settings = SummarizerSettings(model=model, revision=revision, prompt="", max_input_tokens=32, max_output_tokens=8)
    preset = {"device": "cpu", "precision": "float32", **gpu}
    resolved = resolve_settings(GpuSettings.model_validate(preset), settings)
    assert isinstance(resolved, ModelSettings)
    return resolved


def text_of(resolved: ModelSettings) -> str:
    ((result,),) = open_summarizer(resolved).summarize([Abstract(1, TEXT)], Phases())
    assert isinstance(result, Summary)
    return result.text


@pytest.fixture(scope="module")
def texts(folders: list[Path]) -> list[str]:
    """What each commit writes."""
    texts = [text_of(resolve(model=str(folder))) for folder in folders]
    assert texts[0] != texts[1]
    return texts


def test_each_revision_is_its_own_commit_offline(cache: Path, folders: list[Path], texts: list[str]) -> None:
    cache_model(cache, HUB_ID, folders[0], FIRST, "main")
    cache_model(cache, HUB_ID, folders[1], SECOND, "v2")
    fingerprints = set()
    for revision, commit, text in (
        ("main", FIRST, texts[0]),
        ("v2", SECOND, texts[1]),
        (SECOND, SECOND, texts[1]),
        (SECOND[:7], SECOND, texts[1]),
    ):
        resolved = resolve(revision)
        assert resolved.files.commit == resolved.text_settings()["model_revision"] == commit
        assert text_of(resolved) == text
        fingerprints.add(resolved.fingerprint)
    assert len(fingerprints) == 2


def test_one_cached_revision_is_enough(cache: Path, folders: list[Path], texts: list[str]) -> None:
    cache_model(cache, HUB_ID, folders[1], SECOND, "v2")
    assert text_of(resolve("v2")) == text_of(resolve(SECOND)) == texts[1]
    assert text_of(resolve("v2", engine="ctranslate2")) == texts[1]
    with pytest.raises(UserError, match=r"lab/tiny at revision main is neither cached here nor .* Cached are v2\."):
        resolve("main")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", f"the weights of lab/tiny at commit {FIRST} are not cached here"),
        ("config.json", r"lab/tiny has no config.json"),
        ("tokenizer.json", r"lab/tiny has no tokenizer .*Fetch it again"),
    ],
)
def test_what_the_cache_lacks_is_named(missing: str, message: str, cache: Path, folders: list[Path]) -> None:
    (cache_model(cache, HUB_ID, folders[0], FIRST, "main") / missing).unlink()
    with pytest.raises(UserError, match=message):
        resolve()


def test_branch_that_moves_brings_other_texts_under_another_fingerprint(hub: Hub, texts: list[str]) -> None:
    before = resolve()
    assert "model.safetensors" not in hub.fetched, "weights are fetched as the model is loaded"
    hub.refs["main"] = SECOND
    after = resolve()
    assert (before.files.commit, after.files.commit) == (FIRST, SECOND)
    assert before.fingerprint != after.fingerprint
    # What was resolved stays what it was.
    assert [text_of(before), text_of(after)] == texts
    hub.refs["main"] = FIRST
    assert resolve().fingerprint == before.fingerprint


def test_what_was_fetched_is_enough_without_the_hub(
    hub: Hub, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert text_of(resolve("v2")) == texts[1]
    resolve("main")
    hub.down = True
    assert text_of(resolve("v2")) == texts[1]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert text_of(resolve("v2")) == texts[1]
    with pytest.raises(UserError, match=r"the weights of lab/tiny at commit .* are not cached"):
        resolve("main")


def test_what_the_hub_refuses_is_told_apart(hub: Hub) -> None:
    with pytest.raises(UserError, match=r"lab/tiny has no revision v3\. Name a branch"):
        resolve("v3")
    with pytest.raises(UserError, match=r"has no model lab/other that you may read\. .*`hf auth login`"):
        resolve(model="lab/other")
    with pytest.raises(UserError, match=r"not-a-model\?\? is neither a folder"):
        resolve(model="not-a-model??")
    hub.gated = True
    with pytest.raises(UserError, match=r"lab/tiny is gated\. Accept its terms at .*lab/tiny, and log in"):
        resolve()
    hub.down = True
    with pytest.raises(UserError, match="neither cached here nor available"):
        resolve()


def test_only_the_weights_that_are_loaded_are_fetched(hub: Hub, folders: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[0], tmp_path / "many")
    for name in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "README.md", "a.onnx"):
        (folder / name).write_bytes(b"not read")
    hub.commits[FIRST] = folder
    open_summarizer(resolve())
    assert set(hub.fetched) == {p.name for p in folders[0].iterdir()}


@pytest.mark.parametrize("layout", ["bin", "parts"])
def test_other_layouts_of_weights_come_from_the_hub(
    layout: str, hub: Hub, folders: list[Path], texts: list[str], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders[0], tmp_path / layout)
    model = T5ForConditionalGeneration.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    if layout == "bin":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, max_shard_size="20KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    hub.commits[FIRST] = folder
    assert text_of(resolve()) == texts[0]


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("vocabulary", [("spiece.model", "tokenizer.json"), ("spiece.model",)])
def test_the_default_model_s_layout_goes_end_to_end_offline(
    weights: str, vocabulary: tuple[str, ...], cache: Path, tmp_path: Path
) -> None:
    original = train_sentencepiece(tmp_path / "sp", **T5_IDS)
    folder = tmp_path / "model"
    save_untrained_t5(folder)
    shutil.copy(tmp_path / "sp.model", without_tokenizer(folder) / "spiece.model")
    T5Tokenizer.from_pretrained(folder).save_pretrained(folder)
    if "tokenizer.json" not in vocabulary:
        (folder / "tokenizer.json").unlink()
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(original) + 100, d_model=48, d_kv=8, d_ff=64, num_layers=2, num_heads=6,
            initializer_factor=4.0, decoder_start_token_id=0,  # type: ignore[call-arg]
        )
    ).eval()  # fmt: skip
    model.save_pretrained(folder)
    if weights == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / weights)
    cache_model(cache, HUB_ID, folder, FIRST, "main")
    ids = torch.tensor([[*original.encode(TEXT)[:31], 1]])  # as many as `resolve` allows
    written = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
    tokenizer = T5Tokenizer.from_pretrained(folder)
    assert text_of(resolve()) == tokenizer.decode(written[0], skip_special_tokens=True).strip()
