"""Engines in environments of their own: what a user is told, and how a worker is spoken to."""

from pathlib import Path

import pytest

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    Rejection,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.engines.worker_programs import vllm_worker
from sum_assets.summarizer.isolate_failures import summarize_each
from sum_assets_tests.summarizer.engines.test_transformers_engine import SENTENCES, copier_settings
from sum_assets_tests.tiny_models import sentence


def test_vllm_says_what_it_lacks_to_compile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "g++")
    assert not vllm_worker._compiles()
    assert "vLLM is slower without compiling the model, which takes g++" in capsys.readouterr().err


def results(t5: Path, batch_size: int) -> list[list[object]]:
    gpu = GpuSettings(engine="openvino", device="cpu", precision="float32", batch_size=batch_size)
    engine = open_summarizer(resolve_settings(gpu, copier_settings(t5)))
    lists = list(engine.summarize([Abstract(i, text) for i, text in SENTENCES.items()], Phases()))
    assert (engine.state().device_name, engine.state().peak_device_bytes) == ("abacus", 64)
    return [list(one) for one in lists]


@pytest.mark.usefixtures("echo")
def test_outputs_come_as_they_finish(t5: Path) -> None:
    lists = results(t5, 4)
    assert [len(one) for one in lists] == [1] * len(SENTENCES)
    summaries = {r.abstract_id: r.text for one in lists for r in one if isinstance(r, Summary)}
    assert summaries == {i: " ".join(text.split()[1:]) for i, text in SENTENCES.items()}


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize(
    ("batch_size", "error", "message"),
    [
        (7, UserError, "engine openvino: seven is no batch size; set eight."),
        (9, RuntimeError, "the worker of engine openvino ended with SIGKILL"),
        (5, RuntimeError, "engine openvino: ValueError: five"),
    ],
)
def test_a_worker_that_fails_is_heard(t5: Path, batch_size: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        results(t5, batch_size)


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize(
    ("batch_size", "detail"),
    [
        (2, "WorkerError: the worker of engine openvino ended with SIGKILL; its last words are above"),
        (3, "WorkerError: the worker of engine openvino gave no answer for 1 s"),
    ],
)
def test_a_row_that_kills_or_hangs_the_worker_is_rejected_alone(
    t5: Path, batch_size: int, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sum_assets.summarizer.engines.subprocess_engine.ANSWER_LIMIT", 1.0)
    gpu = GpuSettings(engine="openvino", device="cpu", precision="float32", batch_size=batch_size)
    engine = open_summarizer(resolve_settings(gpu, copier_settings(t5)))
    texts = {i: sentence(i, 10 if i == 5 else 6) for i in range(8)}
    found = [r for one in summarize_each(engine, [Abstract(*item) for item in texts.items()], Phases()) for r in one]
    assert sorted(r.abstract_id for r in found) == list(texts)
    assert [r for r in found if isinstance(r, Rejection)] == [Rejection(5, "engine_error", detail)]


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        ({"engine": "ctranslate2", "quantization": "nf4"}, "quantization nf4: engine ctranslate2 has none and int8"),
        ({"engine": "ctranslate2", "attention": "eager"}, "attention eager: engine ctranslate2 has its own"),
        (
            {"engine": "ctranslate2", "cuda_graphs": True},
            "cuda_graphs: engine ctranslate2 decides about them by itself",
        ),
        (
            {"engine": "ctranslate2", "precision": "bfloat16"},
            r"precision bfloat16(, .*: ctranslate2 on .* has .*|: .* only emulates it\. Set )float32",
        ),
    ],
)
def test_what_an_engine_does_not_have_is_named(t5: Path, gpu: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        resolve_settings(GpuSettings.model_validate({"device": "cpu", **gpu}), copier_settings(t5))
