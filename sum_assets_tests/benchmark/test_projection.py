"""Projections from known costs: right in the middle, and in their interval as often as they promise."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sum_assets.backfill_time import FINISH_SECONDS, RANGE_SECONDS, START_SECONDS
from sum_assets.benchmark.cell import CellResult
from sum_assets.benchmark.confidence_interval import Noise, pooled_noise
from sum_assets.benchmark.corpus_lengths import Corpus, mix_lengths
from sum_assets.benchmark.projection import Tokens, project
from sum_assets.database.source_profile import FRACTIONS, Lengths

LOAD, PER_ROW, PER_TOKEN, PER_SQUARE, WRITE = 5.0, 0.3, 0.0005, 0.000001, 0.01
BATCH, CELL = 16, 64
BESIDE = START_SECONDS + FINISH_SECONDS + RANGE_SECONDS  # in a run of one range
TOKENS = Tokens(base=40.0, per_character=0.25, limit=672)


def corpus(characters: np.ndarray, rows: int, ranges: int = 1) -> Corpus:
    profile = Lengths(rows, [int(c) for c in np.quantile(characters, FRACTIONS)])
    return Corpus(rows, mix_lengths([profile]), ranges, "recorded")


def run(characters: np.ndarray, generator: np.random.Generator, noise: float) -> CellResult:
    """Return what a run over these abstracts would record, with noise of each spell as long as a cell."""
    widths = np.sort(TOKENS(characters))[::-1]
    batches = []
    for start in range(0, len(widths), BATCH):
        if start % CELL == 0:
            spell = float(np.exp(generator.normal(0, noise)))
        part = widths[start : start + BATCH]
        tokens, squares = part.sum(), (part**2).sum()
        cost = PER_ROW * len(part) + PER_TOKEN * tokens + PER_SQUARE * squares
        batches.append((len(part), round(tokens), round(squares), cost * spell))
    write = WRITE * len(widths)
    phases = {"load_model": LOAD, "read": 0.0, "tokenize": 0.0, "detokenize": 0.0, "write": write, "other": 0.0}
    generate = sum(batch[-1] for batch in batches)
    return CellResult(
        "ok", abstracts=len(widths), seconds=generate + write, phases=phases | {"generate": generate}, batches=batches
    )


def lengths(generator: np.random.Generator, rows: int, mean: float = 1500) -> np.ndarray:
    return generator.gamma(8, mean / 8, rows)


def noise_of(cells: list[CellResult]) -> Noise | None:
    return pooled_noise([[c.abstracts / (c.seconds or 1) for c in cells]])


@pytest.mark.parametrize("shift", [0.5, 1.0, 1.6], ids=["shorter", "alike", "longer"])
def test_the_corpus_counts_and_not_the_mean_of_the_sample(shift: float) -> None:
    generator = np.random.default_rng(0)
    cells = [run(lengths(generator, 64), generator, 0.0) for _ in range(3)]
    others = lengths(generator, 4096, 1500 * shift)
    truth = run(others, generator, 0.0)
    projection = project(cells, corpus(others, 4096), TOKENS, padded_to=None, noise=None, summary_bytes=400)
    assert projection.seconds == pytest.approx((truth.seconds or 0) + LOAD + BESIDE, rel=0.02)
    assert (projection.low, projection.high) == (None, None)


def test_loading_counts_once_per_run_what_ranges_take_by_range_and_the_rest_by_rows() -> None:
    generator = np.random.default_rng(0)
    sample = lengths(generator, 64)
    cells = [run(sample, generator, 0.0)]
    whole = corpus(sample, 1000, ranges=10)

    def phases(of: Corpus) -> dict[str, float]:
        return project(cells, of, TOKENS, padded_to=None, noise=None, summary_bytes=400).phases

    seconds = phases(whole)
    assert sum(seconds[phase] for phase in ("generate", "write")) == pytest.approx(690, rel=0.1)
    assert seconds.pop("load_model") == 3 * LOAD, "in runs of four ranges, five minutes each"
    assert seconds.pop("runs") == 3 * (START_SECONDS + FINISH_SECONDS)
    assert seconds.pop("ranges") == 10 * RANGE_SECONDS
    assert seconds["write"] == pytest.approx(1000 * WRITE)
    larger = phases(whole.scaled(100_000))
    assert larger.pop("load_model") == 10 * LOAD, "in ranges of 10,000, each a run"
    assert larger.pop("runs") == 10 * (START_SECONDS + FINISH_SECONDS)
    assert larger.pop("ranges") == 10 * RANGE_SECONDS
    assert larger == pytest.approx({phase: 100 * value for phase, value in seconds.items()})


@pytest.mark.parametrize("replicates", [3, 5])
def test_the_interval_holds_new_runs_as_often_as_it_says(replicates: int) -> None:
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        sample = lengths(generator, 64)
        cells = [run(sample, generator, 0.05) for _ in range(replicates)]
        others = lengths(generator, 300)
        real = (run(others, generator, 0.05).seconds or 0) + LOAD + BESIDE
        projection = project(
            cells, corpus(others, 300), TOKENS,
            padded_to=None, noise=noise_of(cells), summary_bytes=400,
        )  # fmt: skip
        assert projection.low is not None
        assert projection.high is not None
        held += projection.low <= real <= projection.high
    assert held / 200 >= 0.93


@pytest.mark.parametrize("settings", [{"engine": "openvino"}, {"workers_per_device": 2}, {"devices": ["a", "b"]}])
def test_what_has_several_batches_in_work_is_taken_as_a_whole(settings: dict[str, Any]) -> None:
    """What it finishes in one step comes as rows of which the first took the step's time and the others none."""
    generator = np.random.default_rng(3)
    sample = lengths(generator, 64)
    cells = []
    for seconds in (9.0, 10.0, 11.0):
        tokens = [round(n) for n in TOKENS(sample)]
        steps = [(1, n, n * n, seconds / 4 if i % 16 == 0 else 0.0) for i, n in enumerate(tokens)]
        phases = dict.fromkeys(["load_model", "read", "tokenize", "detokenize", "write", "other"], 0.0)
        cells.append(
            CellResult(
                "ok",
                abstracts=64,
                seconds=seconds,
                phases=phases | {"generate": seconds},
                batches=steps,
                output_tokens=64 * 48,
                resolved=settings,
            )
        )
    projection = project(
        cells, corpus(sample, 640), TOKENS, padded_to=None, noise=noise_of(cells), summary_bytes=400
    )  # fmt: skip
    assert projection.backfill.working == pytest.approx(100, rel=0.02)
    assert projection.low is not None
    assert projection.high is not None
    low, high = (100 * end / projection.seconds for end in (projection.low, projection.high))
    assert 75 < low < high < 135


@given(
    st.lists(
        st.tuples(st.integers(1, 5000), st.lists(st.integers(0, 8000), min_size=8, max_size=8).map(sorted)),
        min_size=1,
        max_size=20,
    )
)
def test_mixed_lengths_stay_within_what_was_recorded(ranges: list[tuple[int, list[int]]]) -> None:
    spaced = mix_lengths([Lengths(rows, percentiles) for rows, percentiles in ranges])
    assert len(spaced) == min(sum(rows for rows, _ in ranges), 4096)
    assert (np.diff(spaced) >= 0).all()
    assert spaced[0] >= min(p[0] for _, p in ranges)
    assert spaced[-1] <= max(p[-1] for _, p in ranges)
    assert spaced[0] >= 0


def test_tokens_follow_characters_up_to_the_limit() -> None:
    fitted = Tokens.fit([400, 800, 1200, 9000], [140, 240, 340, 672], 672)
    assert fitted(np.array([1000.0, 1e6])) == pytest.approx([290, 672])
    assert Tokens.fit([5, 5], [9, 9], 672)(np.array([100.0])) == pytest.approx([9])
