"""What the page of the report says and draws, of presets whose figures are known beforehand."""

import itertools
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text

from sum_assets.backfill_time import Backfill
from sum_assets.benchmark.cell import CellResult
from sum_assets.benchmark.confidence_interval import estimate
from sum_assets.benchmark.corpus_lengths import Corpus
from sum_assets.benchmark.inline_plots import LIMIT, inline_plots
from sum_assets.benchmark.plots import figures, front
from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.projection import Projection
from sum_assets.benchmark.quality_gate import Gate, Quality
from sum_assets.benchmark.render_report import as_markdown
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.report_tables import sections
from sum_assets.benchmark.results_table import Page, in_width
from sum_assets.benchmark.section import Section
from sum_assets.benchmark.sweep import BASELINE, REFERENCE, Preset
from sum_assets.database.benchmark_results import SampleSummary
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.doc_blocks import ROOT

_PHASES = dict.fromkeys(("load_model", "read", "tokenize", "generate", "detokenize", "write", "other", "warm_up"), 1.0)


def measured(name: str, speed: float, likeness: float = 1.0, watts: float | None = None, **settings: Any) -> Any:
    """Return a preset that is `speed` times as fast as the baseline. It fails the gate below a likeness of 0.65."""
    rates = [speed * 0.1, speed * 0.11, speed * 0.12]
    result = CellResult("ok", abstracts=32, seconds=320 / speed, phases=_PHASES, device_watts=watts)
    zeros = dict.fromkeys(Quality.__dataclass_fields__, 0.0)
    seconds = 86400.0 * 100 / speed
    return PresetResult(
        preset=name,
        outcome="ok",
        detail="",
        results=[result],
        rate=estimate(rates),
        efficiency=None,
        speedup=None if name == BASELINE else estimate([speed * 0.9, speed, speed * 1.1]),
        quality=Quality(**{**zeros, "abstracts": 32, "opening_rouge_l": likeness}),  # type: ignore[arg-type]
        gate=Gate(likeness >= 0.65, "" if likeness >= 0.65 else "writes other texts"),
        projection=Projection(1000, Backfill(seconds, 1, 0.0), {}, seconds, None, None, 1, 1),
        settings=Preset.model_validate(
            {"device": "cpu", "precision": "float32", "batch_size": 16, **settings}
        ).model_dump(),
    )


def refused(name: str) -> PresetResult:
    """Return a preset that could not be measured."""
    settings = Preset(device="cuda:9").model_dump()
    reason = "device cuda:9: torch sees 0 CUDA devices."
    return PresetResult(name, "unsupported", reason, [], None, None, None, None, None, None, settings)


def report_of(presets: Sequence[PresetResult]) -> BenchmarkReport:
    presets = sorted(presets, key=lambda p: -p.rate.median if p.rate else 0.0)
    paces = {p.preset: dict(enumerate(np.linspace(0.9, 1.1, 3) * p.rate.median)) for p in presets if p.rate}
    texts = {
        p.preset: {i: SampleSummary(i, f"{p.preset}\nof {i}", False, 9, f"Abstract {i}", None) for i in range(5)}
        for p in presets
        if p.rate
    }
    corpus = Corpus(1000, np.array([1.0]), 1, "known")
    return BenchmarkReport(list(presets), corpus, paces, {}, SummarizerSettings().model_dump(), "", texts)


USUAL = (
    measured(BASELINE, 1, batch_size=1, attention="eager", naive=True),
    measured(REFERENCE, 4),
    measured("openvino", 7, engine="openvino", quantization="int8", batch_size=64),
    measured("wrong", 9, likeness=0.3, precision="bfloat16"),
    measured("lead", 10_172, likeness=0.2, engine="lead"),
)


def rows(section: Section) -> dict[str, dict[str, str]]:
    return {row[0]: dict(zip(section.headings, row, strict=True)) for row in section.rows}


def test_one_table_decides() -> None:
    report = report_of([*USUAL, refused("nowhere")])
    assert report.sentence.startswith("openvino (int8, batch 64 on cpu): 7.0x the baseline (")
    section = sections(report)["results"]
    assert "workers" not in section.headings, "all have one"
    assert "workers 1" in section.note
    table = rows(section)
    assert (
        table["openvino"] | {"engine": "openvino", "quant": "int8", "batch": "64", "prec.": "fp32"}
        == (table["openvino"])
    )
    assert table["openvino"] | {"days": "14.3", "gate": "pass", "result": "fastest"} == table["openvino"]
    assert {name: row["result"] for name, row in table.items() if name != "openvino"} == {
        "lead": "other texts",
        "wrong": "other texts",
        REFERENCE: "57% as fast",
        BASELINE: "14% as fast",
        "nowhere": "cannot run",
    }
    reasons = {name: row["reason"] for name, row in rows(sections(report)["losers"]).items()}
    assert reasons["nowhere"] == "unsupported: device cuda:9: torch sees 0 CUDA devices."
    assert reasons["wrong"] == "the quality gate fails: writes other texts"
    assert reasons[REFERENCE].startswith("slower: 57% of the speed of openvino (57% to 57%)")
    assert "openvino" not in reasons


@pytest.mark.parametrize("page", ["README.md", "docs/evidence/benchmark.md"])
def test_tables_in_the_documentation_have_the_columns_of_the_report(page: str) -> None:
    table = sections(report_of(USUAL))["results"]
    shown = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (ROOT / page).read_text().splitlines()
        if line.startswith(("| preset |", "| openvino", "| baseline |", "| nf4-16 |"))
    ]
    headings, winner, *others = shown
    assert headings == table.headings[: len(headings)]
    assert winner[1:3] == ["fastest", "pass"]
    results = {re.sub(r"\d+%", "N%", row[1]) for row in others}
    assert results <= {re.sub(r"\d+%", "N%", row[1]) for row in table.rows} | {"may be as fast"}
    assert {row[2] for row in others} == {"pass", "fail"} == {row[table.headings.index("gate")] for row in table.rows}


def test_a_table_is_cut_into_parts_that_fit_the_page() -> None:
    table = sections(report_of([*USUAL, refused("nowhere")]))["results"]
    assert in_width(table, Page(10_000)) == [table]
    first, second = in_width(table, Page(60))
    assert [*first.headings, *second.headings[1:]] == table.headings
    assert first.headings[:2] == ["preset", "result"]
    assert second.headings[0] == "preset"
    assert [len(part.headings) for part in in_width(table, Page(10))] == [2] * (len(table.headings) - 1)


def test_what_is_not_known_is_not_shown() -> None:
    plain = report_of(USUAL)
    assert {"cost", "kWh", "limit"} & set(sections(plain)["results"].headings) == set()
    assert "price" not in plain.sentence


def test_price_and_energy_are_of_the_corpus() -> None:
    pair = measured("pair", 8, watts=250.0, device="auto", devices=["cuda:0", "cuda:1"])
    single = measured("single", 2, watts=250.0)
    priced = [p.__class__(**{**{f: getattr(p, f) for f in p.__slots__}, "price_per_hour": 0.5}) for p in (pair, single)]
    report = report_of([*USUAL[:2], *priced])
    table = rows(sections(report)["results"])
    assert (table["pair"]["days"], table["pair"]["cost"], table["pair"]["kWh"]) == ("12.5", "300", ""), "of one alone"
    assert (table["single"]["days"], table["single"]["cost"], table["single"]["kWh"]) == ("50.0", "600", "300")
    assert table[REFERENCE]["cost"] == ""
    assert "at 0.500 for one device and hour" in sections(report)["results"].note
    assert report.sentence.endswith("12.5 days for 1,000 abstracts, at a price of 300.")
    assert priced[1].as_json()["energy_kwh"] == 300


def test_an_attention_that_the_engine_chooses_is_no_setting() -> None:
    chosen = measured("openvino", 7, engine="openvino")
    chosen.settings["attention"] = None
    configuration = report_of([*USUAL[:2], chosen]).run_configuration()["resources"]["gpu"]["config"]
    assert configuration == {"engine": "openvino", "device": "cpu", "precision": "float32", "batch_size": 16}


def test_reference_and_winner_are_side_by_side() -> None:
    shown = sections(report_of(USUAL))["summaries"]
    assert shown.headings == ["abstract", REFERENCE, "openvino"]
    assert shown.rows[0] == ["0: Abstract 0", "reference\nof 0", "openvino\nof 0"]
    assert len(shown.rows) == 3
    assert "| 2: Abstract 2 | reference of 2 | openvino of 2 |" in as_markdown(report_of(USUAL))
    assert "summaries" not in sections(report_of(USUAL[:2])), "the reference itself wins"


def test_an_engine_without_a_model_leaves_the_axis_to_the_others() -> None:
    plots = figures(report_of(USUAL))
    for name in ("speedups", "quality"):
        (axes,) = plots[name].axes
        assert axes.get_xlim()[1] < 20
        assert "no model: lead (10,172x)" in axes.get_xlabel()
    for plot in inline_plots(report_of(USUAL)).values():
        assert plot.endswith("no model: lead (10,172x)")
        assert "lead" not in unquote(plot).partition("</svg>")[0]


def test_the_front_is_of_what_passes() -> None:
    assert [p.preset for p in front(USUAL)] == ["openvino"]
    better = measured("exact", 5, likeness=1.0), measured("close", 6, likeness=0.9), measured("worse", 4, likeness=0.8)
    assert [p.preset for p in front([*better, USUAL[3]])] == ["close", "exact"]


def crowd(number: int) -> list[PresetResult]:
    return [measured(f"openvino-{n}-bfloat16", 5 + 0.1 * (n % 7), likeness=0.9 + 0.001 * n) for n in range(number)]


@pytest.mark.parametrize("number", [2, 12, 40])
def test_labels_do_not_overlap(number: int) -> None:
    figure = figures(report_of([*USUAL, *crowd(number)]))["quality"]
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    names = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    # The extent of an annotation itself holds the line to its point, too.
    boxes = sorted((Text.get_window_extent(name, renderer) for name in names), key=lambda box: box.y0)
    assert len(boxes) == number + 4
    assert all(above.y0 >= below.y1 for below, above in itertools.pairwise(boxes))


@pytest.mark.parametrize("number", [0, 12, 40])
def test_plots_without_a_click_are_short(number: int) -> None:
    plots = inline_plots(report_of([*USUAL, *crowd(number)]))
    assert list(plots) == ["speedups", "quality"]
    for plot in plots.values():
        assert len(plot) < LIMIT
        assert plot.startswith("![plot](<data:image/svg+xml,%3Csvg xmlns=")
    assert ">wrong 9.0x<" in unquote(plots["speedups"]), "the fastest comes first"
    assert (" of 15 presets" in plots["speedups"]) == (number == 12)
