"""What is tokenized beforehand is what would be tokenized later, and only for the same text."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    Rejection,
    Summarizer,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.prompts import Encoded, PromptEncoder
from sum_assets_tests.summarizer.engines.test_transformers_engine import SENTENCES, copier_settings
from sum_assets_tests.tiny_models import sentence


@pytest.fixture
def engine(t5: Path) -> Summarizer:
    settings = copier_settings(t5, max_input_tokens=8)  # so that most inputs are cut
    return open_summarizer(resolve_settings(GpuSettings(precision="float32", batch_size=3), settings))


def texts_of(engine: Summarizer, abstracts: list[Abstract]) -> dict[int, str]:
    lists = engine.summarize(abstracts, Phases())
    return {r.abstract_id: r.text for results in lists for r in results if isinstance(r, Summary)}


def test_texts_are_the_same_and_nothing_is_tokenized_twice(engine: Summarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    abstracts = [Abstract(i, text) for i, text in SENTENCES.items()]
    expected = texts_of(engine, abstracts)
    assert len(expected) == len(abstracts)
    tokenized: list[int] = []
    real = PromptEncoder.encode

    def encode(encoder: PromptEncoder, abstracts: Sequence[tuple[int, str]]) -> list[Encoded | Rejection]:
        tokenized.extend(i for i, _ in abstracts)
        return real(encoder, abstracts)

    monkeypatch.setattr(PromptEncoder, "encode", encode)
    engine.prepare(abstracts[2:])
    assert texts_of(engine, abstracts) == expected
    assert sorted(tokenized) == sorted(SENTENCES)
    assert texts_of(engine, abstracts) == expected, "and again, though nothing is prepared now"


def test_an_abstract_that_was_edited_is_tokenized_anew(engine: Summarizer) -> None:
    engine.prepare([Abstract(1, SENTENCES[1])])
    edited = [Abstract(1, SENTENCES[2])]
    assert texts_of(engine, edited) == {1: texts_of(engine, [Abstract(2, SENTENCES[2])])[2]}


def test_one_thread_prepares_while_another_summarizes(engine: Summarizer) -> None:
    """A fast tokenizer that both threads used would raise "Already borrowed"."""
    windows = [[Abstract(i, sentence(i, 12)) for i in range(start, start + 6)] for start in range(0, 120, 6)]
    expected = [texts_of(engine, window) for window in windows]
    with ThreadPoolExecutor(1) as thread:
        for window, following, texts in zip(windows, [*windows[1:], []], expected, strict=True):
            ahead = thread.submit(engine.prepare, following * 20)
            assert texts_of(engine, window) == texts
            ahead.result()
