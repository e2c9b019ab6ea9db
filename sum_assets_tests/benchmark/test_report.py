"""Reports in every format, from cells of a real sweep."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import Connection

from sum_assets.benchmark import render_report as render
from sum_assets.benchmark.build_report import build_report
from sum_assets.benchmark.corpus_lengths import read_corpus
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.run_sweep import run_sweep
from sum_assets.benchmark.sweep import Sweep
from sum_assets.database.benchmark_results import draw_sample
from sum_assets.database.source_profile import profile, record_profile
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.tiny_models import sentence

PRESETS = {
    "fp32-8": {"device": "cpu", "precision": "float32", "batch_size": 8},
    "fp32-2": {"device": "cpu", "precision": "float32", "batch_size": 2},
    "nowhere": {"device": "cuda:99"},
}


@pytest.fixture
def corpus(database: Connection) -> Connection:
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, title, abstract) VALUES (%s, %s, %s)",
            [(i, f"<b>{i}", sentence(i, 5 + i % 9)) for i in range(1, 41)],
        )
    return database


def measure(corpus: Connection, t5: Path) -> BenchmarkReport:
    sweep = Sweep.model_validate({"sample": 16, "baseline_sample": 4, "replicates": 1, "presets": PRESETS})
    summarizer = SummarizerSettings(model=str(t5), prompt="", max_input_tokens=32, max_output_tokens=16)
    measurements = run_sweep(corpus, sweep, summarizer)
    for one in [m for m in measurements if m.cell.name == "fp32-8"]:  # as if two workers had been as fast as one
        preset = {**one.cell.settings["preset"], "workers_per_device": 2}
        resolved = {**one.result.resolved, "workers_per_device": 2}
        cell = replace(one.cell, name="fp32-8-two", settings={**one.cell.settings, "preset": preset})
        measurements.append(replace(one, cell=cell, result=replace(one.result, resolved=resolved)))
    return build_report(corpus, measurements, read_corpus(corpus, ranges=2).scaled(3_680_000))


@pytest.mark.slow
def test_every_format_says_the_same(corpus: Connection, t5: Path) -> None:
    report = measure(corpus, t5)
    names = ["baseline", "fp32-2", "fp32-8", "fp32-8-two", "nowhere", "reference"]
    rows = json.loads(render.as_json(report))
    assert sorted(row["preset"] for row in rows) == names
    required = "preset outcome abstracts_per_second speedup speedup_low speedup_high gate gate_reason days settings"
    assert all(set(required.split()) <= row.keys() for row in rows)
    by_name = {row["preset"]: row for row in rows}
    assert by_name["nowhere"] | {"outcome": "unsupported", "days": None, "gate": None} == by_name["nowhere"]
    fast = by_name["fp32-8"]
    assert (fast["gate"], fast["rows"], fast["settings"]["batch_size"]) == ("passes", 3_680_000, 8)
    assert fast["abstracts_per_second_p5"] <= fast["abstracts_per_second"] <= fast["abstracts_per_second_p95"]
    assert sum(fast["seconds_by_phase"].values()) == pytest.approx(fast["days"] * 86400)
    assert fast["device_watts"] is None, "absent, not zero"
    efficiency = {name: (row["workers"], row["parallel_efficiency"]) for name, row in by_name.items()}
    assert efficiency["fp32-8"] == (1, None)
    assert efficiency["fp32-8-two"] == (2, 0.5)

    from_csv = {row["preset"]: row for row in csv.DictReader(io.StringIO(render.as_csv(report)))}
    assert sorted(from_csv) == names
    assert float(from_csv["fp32-8"]["speedup"]) == fast["speedup"]

    markdown = render.as_markdown(report)
    assert f"model: {t5}" in markdown, "the winner's configuration has the model"
    assert report.sentence in markdown
    assert "| 50% |" in markdown
    assert re.search(r"baseline \(.* passes the gate, .* for 3.68 million abstracts", report.sentence)
    assert "| nowhere | unsupported: device cuda:99: torch sees" in markdown

    page = render.as_html(report)
    assert f"model: {t5}" in page
    assert page.count("<svg") == 5
    assert not re.search(r"(src|href)=.http", page), "one file that needs no other"
    assert "<b>" not in page

    pair = report.only(["fp32-8", "fp32-2"])
    assert {key: sorted(values) for key, values in pair.differences().items()} == {"batch_size": [2, 8]}
    assert "| batch_size | " in render.as_markdown(pair, compared=True)
    with pytest.raises(UserError, match=r"fp32-3 is not measured\. Measured presets: "):
        report.only(["fp32-3"])


def test_a_large_corpus_is_sampled(corpus: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    small = draw_sample(corpus, 40)
    for module in ("sum_assets.database.benchmark_results", "sum_assets.benchmark.corpus_lengths"):
        monkeypatch.setattr(f"{module}.DRAWN", 39)
    assert len(draw_sample(corpus, 39)) == 39
    assert draw_sample(corpus, 12) == draw_sample(corpus, 20)[:12]
    assert draw_sample(corpus, 40) == small, "where what is drawn does not suffice, all are read"
    lengths = read_corpus(corpus, 0)
    assert lengths.rows == 40
    assert "lengths of 39 abstracts drawn from the source" in lengths.lengths_from


def test_lengths_come_from_what_was_recorded_where_that_is_all(corpus: Connection) -> None:
    assert "read from the source" in read_corpus(corpus, 0).lengths_from
    for id_range in (IdRange(1, 20), IdRange(21, 40)):
        record_profile(corpus, id_range, profile(corpus, id_range))
    recorded = read_corpus(corpus, 0)
    assert recorded.lengths_from == "lengths recorded by `abstracts` in 2 ID ranges"
    assert recorded.rows == len(recorded.characters) == 40
    record_profile(corpus, IdRange(1, 40), profile(corpus, IdRange(1, 40)))
    assert "in 1 ID ranges" in read_corpus(corpus, 0).lengths_from, "ranges that were cut anew replace the old"


@pytest.mark.parametrize("drawn", [20_000, 39])
def test_a_corpus_is_what_has_a_text(corpus: Connection, monkeypatch: pytest.MonkeyPatch, drawn: int) -> None:
    monkeypatch.setattr("sum_assets.benchmark.corpus_lengths.DRAWN", drawn)
    blank = "UPDATE sum_assets.corpus_abstract SET abstract = %s WHERE abstract_id %% 10 = %s"
    for text, digit in (("", 1), (" \n\t\u2003", 2)):
        corpus.execute(blank, [text, digit])
    assert read_corpus(corpus, 0).rows == pytest.approx(32, abs=1), "of 40 rows"
    assert min(read_corpus(corpus, 0).characters) > 4
    monkeypatch.setattr("sum_assets.benchmark.corpus_lengths.DRAWN", 20_000)
    record_profile(corpus, IdRange(1, 40), profile(corpus, IdRange(1, 40)))
    assert read_corpus(corpus, 0).rows == 32
