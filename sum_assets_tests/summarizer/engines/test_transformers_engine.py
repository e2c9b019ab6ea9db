"""The engine on models that matter: trained T5 and BART, and a real causal model on real abstracts."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sum_assets.defs.resources import demo_summarizer
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
from sum_assets.summarizer.engines.transformers_engine import TransformersGenerator
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets_tests.tiny_models import COPIED, sentence

SENTENCES = {i: sentence(10**6 + i, 6 + i) for i in range(8)}


def run(texts: dict[int, str], settings: SummarizerSettings, **gpu: object) -> dict[int, Summary | Rejection]:
    engine = open_summarizer(resolve_settings(GpuSettings.model_validate({"precision": "float32", **gpu}), settings))
    lists = engine.summarize([Abstract(i, text) for i, text in texts.items()], Phases())
    results = [result for results in lists for result in results]
    assert sorted(r.abstract_id for r in results) == sorted(texts), "every abstract comes back once"
    return {r.abstract_id: r for r in results}


def texts_of(results: dict[int, Summary | Rejection]) -> dict[int, str]:
    return {i: r.text for i, r in results.items() if isinstance(r, Summary)}


def copier_settings(folder: Path, **changes: object) -> SummarizerSettings:
    values = {"model": str(folder), "prompt": "", "max_input_tokens": 32, "max_output_tokens": 16, **changes}
    return SummarizerSettings.model_validate(values)


def test_what_transformers_decodes_is_not_recorded(t5: Path) -> None:
    resolved = resolve_settings(GpuSettings(device="cpu"), copier_settings(t5, num_beams=2))
    assert isinstance(resolved, ModelSettings)
    with pytest.raises(UserError, match=r"cuda_graphs: .*t5.* is not decoded by our own loop\. Leave it out"):
        open_summarizer(replace(resolved, cuda_graphs=True))


@pytest.fixture(params=["t5", "bart"])
def copier(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def test_replicas_side_by_side_give_each_row_its_own(copier: Path) -> None:
    texts = {i: sentence(10**6 + i, 6 + i % 8) for i in range(21)}
    threads = torch.get_num_threads()
    try:
        gpu = {"engine": "ctranslate2", "threads_per_worker": 3}
        results = run(texts, copier_settings(copier), batch_size=64, **gpu)
        few = run(texts, copier_settings(copier), batch_size=25, **gpu)
    finally:
        torch.set_num_threads(threads)
    assert texts_of(results) == {i: " ".join(text.split()[:COPIED]) for i, text in texts.items()}
    assert texts_of(few) == texts_of(results)


@pytest.mark.parametrize(
    "gpu",
    [
        {"batch_size": 1},
        {"batch_size": 3},
        {"batch_size": 8},
        {"batch_tokens": 100},
        {"batch_size": 3, "attention": "eager"},
        {"batch_size": 3, "engine": "ctranslate2"},
        {"batch_size": 8, "engine": "ctranslate2", "quantization": "int8"},
    ],
)
def test_sequence_to_sequence_model_copies_every_row(copier: Path, gpu: dict[str, object]) -> None:
    results = run(SENTENCES, copier_settings(copier), **gpu)
    assert texts_of(results) == {i: " ".join(text.split()[:COPIED]) for i, text in SENTENCES.items()}
    for i, result in results.items():
        assert isinstance(result, Summary)
        assert (result.input_tokens, result.output_tokens) == (6 + i + 1, COPIED + 1)
        assert (result.finish_reason, result.input_truncated) == ("stop", False)


def test_beams_write_what_greedy_writes_where_the_model_is_sure(copier: Path) -> None:
    results = run(SENTENCES, copier_settings(copier, num_beams=3), batch_size=8)
    assert texts_of(results) == {i: " ".join(text.split()[:COPIED]) for i, text in SENTENCES.items()}


def test_limits_are_kept_and_noted(t5: Path) -> None:
    long = run({1: sentence(5, 16)}, copier_settings(t5, max_input_tokens=9))[1]
    assert isinstance(long, Summary)
    assert (long.input_tokens, long.input_truncated) == (9, True)
    capped = run({1: sentence(5, 16)}, copier_settings(t5, max_output_tokens=2))[1]
    assert isinstance(capped, Summary)
    assert (capped.text, capped.output_tokens, capped.finish_reason) == (
        " ".join(sentence(5, 16).split()[:2]),
        2,
        "length",
    )


def test_a_model_that_writes_nothing_is_noted_as_a_rejection(t5: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(t5, tmp_path / "silent")
    generation = json.loads((folder / "generation_config.json").read_text())
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    generation["begin_suppress_tokens"] = [i for i in range(vocabulary) if i != 1]
    (folder / "generation_config.json").write_text(json.dumps(generation))
    assert run({7: SENTENCES[0]}, copier_settings(folder)) == {
        7: Rejection(7, "empty_summary", "the model wrote nothing")
    }


def test_a_row_that_fits_no_batch_is_rejected_and_its_neighbours_live(
    t5: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = TransformersGenerator._generate

    def generate(self: TransformersGenerator, batch: list[list[int]]) -> list[list[int]]:
        if any(len(ids) == 12 for ids in batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, batch)  # type: ignore[no-any-return]

    monkeypatch.setattr(TransformersGenerator, "_generate", generate)
    results = run(SENTENCES, copier_settings(t5), batch_size=4)
    rejected = results.pop(5)
    assert isinstance(rejected, Rejection)
    assert rejected.reason == "out_of_memory"
    assert "12 input tokens do not fit on" in rejected.detail
    assert texts_of(results) == {i: " ".join(text.split()[:COPIED]) for i, text in SENTENCES.items() if i != 5}


@pytest.fixture(scope="module")
def smollm2() -> SummarizerSettings:
    return demo_summarizer().model_copy(update={"max_output_tokens": 24})


@pytest.mark.slow
def test_real_causal_model_writes_the_same_text_at_any_batch_size(
    smollm2: SummarizerSettings, real_abstracts: list[str]
) -> None:
    texts = dict(enumerate(real_abstracts[:8]))
    one, three, eight = (texts_of(run(texts, smollm2, batch_size=n)) for n in (1, 3, 8))
    assert one == three == eight
    assert len(set(one.values())) == 8


@pytest.mark.parametrize(
    "quantization", ["fp4", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nf4", "int8", "torchao_int8"))]
)
def test_quantized_model_writes_on_a_cpu(
    smollm2: SummarizerSettings, real_abstracts: list[str], quantization: str
) -> None:
    settings = smollm2.model_copy(update={"max_output_tokens": 6})
    results = run(dict(enumerate(real_abstracts[:2])), settings, device="cpu", quantization=quantization)
    assert len(set(texts_of(results).values())) == 2


def test_unloadable_weights_are_named(t5: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(t5, tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(UserError, match="broken cannot be loaded"):
        run(SENTENCES, copier_settings(folder))


_IN_LITTLE_MEMORY = """
import json, resource, sys
import psutil
from sum_assets.summarizer import *
settings = SummarizerSettings(model=sys.argv[1], prompt="", max_input_tokens=1536, max_output_tokens=2)
gpu = GpuSettings(device="cpu", precision="float32", attention="eager", batch_size=64)
engine = open_summarizer(resolve_settings(gpu, settings))
texts = {i: f"bale {'dima ' * 1500}" for i in range(24)}
limit = psutil.Process().memory_info().vms + 1_000_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
done = [r.abstract_id for rs in engine.summarize([Abstract(i, t) for i, t in texts.items()], Phases()) for r in rs
        if isinstance(r, Summary)]
state = engine.state()
print(json.dumps({"done": sorted(done), "batch_size": state.batch_size, "out_of_memory": state.out_of_memory}))
"""


def test_batch_halves_when_memory_runs_out(t5: Path) -> None:
    # 24 rows x 4 heads x 1500 x 1500 float32 scores are 0.9 GB, several times over: more than the process may have.
    ran = subprocess.run([sys.executable, "-c", _IN_LITTLE_MEMORY, str(t5)], capture_output=True, text=True, check=True)
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["done"] == list(range(24))
    assert result["out_of_memory"] >= 1
    assert result["batch_size"] < 24
