"""The largest batch that fits is largest, whatever memory does beyond the line."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import Connection

from sum_assets.benchmark.largest_batch import Probe, largest_batch, search
from sum_assets.benchmark.sweep import Preset
from sum_assets.errors import UserError
from sum_assets.summarizer import SummarizerSettings


@example(true=4, most=57, bend=1.0)
@given(st.integers(1, 3000), st.integers(1, 4096), st.floats(0.5, 2))
def test_the_answer_is_exact_even_where_the_line_is_wrong(true: int, most: int, bend: float) -> None:
    limit, tried = 10_000_000, []

    def probe(batch_size: int) -> int | None:
        tried.append(batch_size)
        return round(limit * 0.2 + limit * 0.8 * bend * batch_size / true) if batch_size <= true else None

    largest = search(probe, limit, most)
    assert largest.batch_size == min(true, most)
    assert largest.complete == (true < most)
    assert len(tried) == len(set(tried))
    assert len(tried) < 30


def test_what_never_fits_is_told() -> None:
    with pytest.raises(UserError, match="Not even a batch of one fits in 1,000 MiB"):
        search(lambda _: None, 1000 * 2**20, 100)


@pytest.mark.slow
def test_a_real_model_is_tried_in_processes_of_its_own(database: Connection, t5: Path) -> None:
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)",
            [(i, f"bale fima goro {i}") for i in range(1, 4)],
        )
    summarizer = SummarizerSettings(model=str(t5), prompt="", max_input_tokens=32, max_output_tokens=4)
    probes: list[Probe] = []
    with pytest.raises(UserError, match="Set it: --memory-limit-mib"):
        largest_batch(database, Preset(device="cpu"), summarizer, 120)
    preset = Preset(device="cpu", precision="float32", memory_limit_mib=64_000)
    largest = largest_batch(database, preset, summarizer, 120, probes.append)
    assert (largest.batch_size, largest.complete) == (3, False)
    assert [p.batch_size for p in probes] == [1, 2, 3]
    assert all(p.peak_bytes for p in probes)
    assert database.execute("SELECT count(*) FROM sum_assets.benchmark_summary").fetchone() == (0,)
