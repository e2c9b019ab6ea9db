"""Quality figures, and a gate that fluent but wrong text does not pass."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sum_assets.benchmark.quality_gate import Quality, compare, gate, rouge_l
from sum_assets.database.benchmark_results import SampleSummary
from sum_assets.defs.resources import demo_summarizer
from sum_assets.ingest.records import Record
from sum_assets_tests.evidence.wrong_engines import judge, wrong_and_right


def written(texts: dict[int, str], abstract: str = "", title: str | None = None) -> dict[int, SampleSummary]:
    return {i: SampleSummary(i, text, False, 10, abstract, title) for i, text in texts.items()}


def compared(texts: dict[int, str], reference: dict[int, str], abstract: str = "") -> Quality:
    quality = compare(written(texts, abstract), written(reference, abstract))
    assert quality
    return quality


def test_rouge_l_is_that_of_the_paper() -> None:
    """The examples of Lin (2004), section 3.1."""
    reference = ["police", "killed", "the", "gunman"]
    assert rouge_l(["police", "kill", "the", "gunman"], reference) == pytest.approx(3 / 4)
    assert rouge_l(["the", "gunman", "kill", "police"], reference) == pytest.approx(2 / 4)
    assert rouge_l([], []) == 1.0
    assert rouge_l([], reference) == 0.0


texts = st.dictionaries(st.integers(1, 50), st.text(max_size=80), min_size=1, max_size=8)


@given(texts)
def test_a_reference_is_like_itself(reference: dict[int, str]) -> None:
    quality = compared(reference, reference)
    assert (quality.same, quality.nearest, quality.same_input, quality.rouge_l, quality.opening_rouge_l) == (
        1,
        1,
        1,
        1,
        1,
    )
    assert gate(quality, quality).passes or quality.length_ratio == 0


@given(texts, texts)
def test_shares_are_shares(candidate: dict[int, str], reference: dict[int, str]) -> None:
    quality = compare(written(candidate), written(reference))
    if not candidate.keys() & reference.keys():
        assert quality is None
        return
    assert quality
    assert quality.abstracts == len(candidate.keys() & reference.keys())
    for name in ("same", "rouge_l", "opening_rouge_l", "chrf", "nearest", "empty", "repeated", "copied", "new_numbers"):
        assert 0 <= getattr(quality, name) <= 1 + 1e-9, name


def test_a_text_is_held_against_its_source() -> None:
    source = "In 1,200 patients the drug lowered pain by 3.5 points."
    right = compared({1: "Pain fell by 3.5 points in 1200 patients."}, {1: "x"}, source)
    wrong = compared({1: "Pain fell by 4.5 points in 1200 patients."}, {1: "x"}, source)
    assert (right.new_numbers, wrong.new_numbers) == (0, 1)
    assert compared({1: source}, {1: "x"}, source).copied == 1
    assert compared({1: "the same four words " * 3}, {1: "x"}).repeated == pytest.approx(1 - 4 / 9)


@pytest.mark.slow
@pytest.mark.skipif(not Path(demo_summarizer().model).is_file(), reason="no model: see the Makefile")
def test_wrong_engines_fail_and_auto_precision_passes(real_records: list[Record], tmp_path: Path) -> None:
    settings = demo_summarizer().model_copy(update={"max_output_tokens": 40})
    named = wrong_and_right(real_records, settings, tmp_path)
    verdicts = {name: judge(texts, named["reference"])[1] for name, texts in named.items()}
    assert verdicts.pop("reference") == verdicts.pop("auto") == "passes"
    assert all(verdict.startswith("fails: ") for verdict in verdicts.values()), verdicts
    assert "closer to those of other abstracts" in verdicts["first row of two only"]
    assert "writes other texts" in verdicts["rope_theta / 10"]
    assert "differ in length" in verdicts["prompts cut"]


def test_a_loss_that_titles_show_is_told() -> None:
    """The texts are near the reference, yet each misses the word that its title has."""
    reference = {i: f"word{i} is what study number {i} of many is about and it says so at length" for i in range(20)}
    worse = {i: text.replace(f"word{i}", "nothing") for i, text in reference.items()}
    titles = {i: SampleSummary(i, t, False, 10, t, f"word{i}") for i, t in reference.items()}
    quality = compare({i: SampleSummary(i, t, False, 10, reference[i], f"word{i}") for i, t in worse.items()}, titles)
    itself = compare(titles, titles)
    assert quality
    assert itself
    verdict = gate(quality, itself)
    assert not verdict.passes
    assert "surely below 99 %" in verdict.reason
