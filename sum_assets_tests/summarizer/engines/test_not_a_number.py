"""A model that computes NaN fails in a sentence; one row on which it does costs that row alone."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from sum_assets.errors import UserError
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
from sum_assets.summarizer.isolate_failures import summarize_each
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets_tests.tiny_models import WORDS, sentence

POISON = WORDS[7]
#: Eleven texts without the word, and three with it, of many lengths.
TEXTS = [
    *(" ".join(w for w in sentence(i, 4 + i).split() if w != POISON) for i in range(11)),
    *(f"{sentence(50 + i, 3 + i)} {POISON} {sentence(70 + i, 6)}" for i in range(3)),
]
POISONED = {i for i, text in enumerate(TEXTS) if POISON in text.split()}


def summarize(
    folder: Path, texts: list[str], *, num_beams: int = 1, naive: bool = False, computed: Any = "float32", **gpu: object
) -> dict[int, Any]:
    settings = SummarizerSettings(
        model=str(folder), prompt="", max_input_tokens=32, max_output_tokens=6, num_beams=num_beams
    )
    resolved = resolve_settings(GpuSettings.model_validate({"device": "cpu", "precision": "float32", **gpu}), settings)
    assert isinstance(resolved, ModelSettings)
    # Lower precisions than float32 are refused on most CPUs, which compute in them all the same.
    engine = open_summarizer(replace(resolved, precision=computed), naive=naive)
    abstracts = [Abstract(i, text) for i, text in enumerate(texts)]
    return {r.abstract_id: r for results in summarize_each(engine, abstracts, Phases()) for r in results}


def changed(folder: Path, to: Path, name: str, row: Any, value: float) -> Path:
    """Copy a model, with a value in a row of one of its weights."""
    shutil.copytree(folder, to)
    weights = load_file(to / "model.safetensors")
    weights[name][row] = value
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.fixture
def poisoned(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A model, and the same with NaN in the embedding of one word, which its output layer does not share."""
    word = AutoTokenizer.from_pretrained(request.getfixturevalue("causal")).convert_tokens_to_ids(POISON)
    if request.param == "llama":
        folder = request.getfixturevalue("causal")
        return folder, changed(folder, tmp_path / "nan", "model.embed_tokens.weight", word, float("nan"))
    trained = AutoModelForSeq2SeqLM.from_pretrained(request.getfixturevalue("t5"))
    head = trained.shared.weight.detach() * trained.config.d_model**-0.5
    head[word] = 0  # no beam writes the word, and reads it: likelier ones are always there
    trained.config.tie_word_embeddings = False
    trained.lm_head.weight = torch.nn.Parameter(head)
    folder = shutil.copytree(request.getfixturevalue("t5"), tmp_path / "whole")
    trained.save_pretrained(folder)
    return folder, changed(folder, tmp_path / "nan", "shared.weight", word, float("nan"))


@pytest.mark.parametrize("poisoned", ["llama", "t5"], indirect=True)
@pytest.mark.parametrize("way", [{}, {"num_beams": 3}, {"naive": True}], ids=["ours", "beams", "naive"])
def test_a_row_of_nan_costs_that_row_alone(poisoned: tuple[Path, Path], way: dict[str, Any]) -> None:
    whole, nan = poisoned
    expected = {i: r.text for i, r in summarize(whole, TEXTS, **way).items()}
    for rows in (1, 5, 12):
        results = summarize(nan, TEXTS, batch_size=rows, **way)
        rejected = {i: r for i, r in results.items() if isinstance(r, Rejection)}
        own = {5} if "num_beams" in way else set()  # one of Llama's beams writes the word, and reads it
        assert POISONED <= set(rejected) <= POISONED | own
        assert {r.reason for r in rejected.values()} == {"not_a_number"}
        assert {i: r.text for i, r in results.items() if isinstance(r, Summary)} == {
            i: text for i, text in expected.items() if i not in rejected
        }


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (
            "float32",
            r"holds NaN or infinity in model\.layers\.1\.mlp\.down_proj\.weight\. Download or train it again\.$",
        ),
        ("bfloat16", r"NaN or infinite in bfloat16\. Set precision: float32\.$"),
    ],
)
@pytest.mark.parametrize("way", [{}, {"num_beams": 2}], ids=["ours", "beams"])
def test_a_model_of_nan_fails_with_the_precision_to_try(
    causal: Path, tmp_path: Path, precision: str, message: str, way: dict[str, Any]
) -> None:
    nan = changed(causal, tmp_path / "nan", "model.layers.1.mlp.down_proj.weight", (0, 0), float("nan"))
    with pytest.raises(UserError, match=f"NaN even on a plain sentence, so that no abstract is to blame: .*{message}"):
        summarize(nan, TEXTS, computed=precision, batch_size=4, **way)


def test_a_model_that_overflows_in_float16_is_told_so(causal: Path, tmp_path: Path) -> None:
    large = changed(causal, tmp_path / "large", "model.layers.1.mlp.down_proj.weight", slice(None), 3e4)
    assert all(isinstance(r, Summary) for r in summarize(large, TEXTS).values())
    with pytest.raises(UserError, match=r"in float16\. Set precision: bfloat16, or float32 where"):
        summarize(large, TEXTS, computed="float16")


def test_an_engine_that_does_not_tell_nan_is_given_none(t5: Path, tmp_path: Path) -> None:
    nan = changed(t5, tmp_path / "nan", "shared.weight", 7, float("nan"))
    with pytest.raises(UserError, match=r"holds NaN or infinity in shared\.weight, and engine ctranslate2"):
        summarize(nan, TEXTS, engine="ctranslate2")
