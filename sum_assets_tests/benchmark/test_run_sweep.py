"""Sweeps on a real database and a trained model: outcomes, resumption, and what each preset wrote."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psutil
import psycopg
import pytest
import yaml
from psycopg import Connection

from sum_assets.benchmark.build_report import build_report
from sum_assets.benchmark.cell import Task, classify
from sum_assets.benchmark.corpus_lengths import read_corpus
from sum_assets.benchmark.run_sweep import CellMeasurement, earlier_measurements, run_cell, run_sweep
from sum_assets.benchmark.sweep import Preset, Sweep
from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.tiny_models import sentence

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corpus(database: Connection) -> Connection:
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)",
            [(i, sentence(i, 5 + i % 9)) for i in range(1, 41)],
        )
    return database


@pytest.fixture
def summarizer(t5: Path) -> SummarizerSettings:
    return SummarizerSettings(model=str(t5), prompt="", max_input_tokens=32, max_output_tokens=16)


def configured(summarizer: SummarizerSettings) -> dict[str, object]:
    return {"resources": {"summarizer": {"config": summarizer.model_dump()}}}


def sweep(**changes: object) -> Sweep:
    presets = {"fast": {"device": "cpu", "precision": "float32", "batch_size": 8}}
    return Sweep.model_validate(
        {"sample": 16, "baseline_sample": 4, "warm_up": 2, "replicates": 2, "presets": presets, **changes}
    )


@pytest.mark.slow
def test_presets_are_measured_in_turn_and_once(corpus: Connection, summarizer: SummarizerSettings) -> None:
    heard: list[tuple[str, int, bool]] = []

    def hear(measurement: CellMeasurement, new: bool, total: int) -> None:
        assert total == 8
        heard.append((measurement.cell.name, measurement.cell.replicate, new))

    presets = {"fast": {"batch_size": 8, "precision": "float32"}, "nowhere": {"device": "cuda:99"}}
    lines: list[str] = []
    measurements = run_sweep(corpus, sweep(presets=presets), summarizer, on_result=hear, log=lines.append)
    names = ["baseline", "reference", "fast", "nowhere"]
    assert heard == [(name, replicate, True) for replicate in (1, 2) for name in names]
    assert lines[0] == "measuring baseline, replicate 1 (1 of 8)"
    assert lines[-1].startswith("measuring nowhere, replicate 2 (8 of 8, about ")
    report = build_report(corpus, measurements, read_corpus(corpus, ranges=0))
    rows = {row.preset: row for row in report.presets}
    assert list(rows)[-1] == "nowhere"
    assert (rows["nowhere"].outcome, rows["nowhere"].rate) == ("unsupported", None)
    assert "torch sees" in rows["nowhere"].detail
    fast = rows["fast"]
    assert fast.speedup is not None
    assert fast.speedup.median > 1
    assert fast.quality is not None
    assert (fast.quality.same, fast.quality.abstracts) == (1.0, 16), "float32 writes the same in any batch"
    assert all(row.recommendable == (row.outcome == "ok") for row in rows.values())
    assert fast.projection is not None
    assert fast.projection.rows == 40
    assert report.winner in (fast, rows["reference"])
    assert all(m.result.abstracts == (4 if m.cell.name == "baseline" else 16) for m in measurements if m.result.seconds)
    assert all(sum(m.result.phases.values()) > 0 for m in measurements if m.result.seconds)
    again = run_sweep(corpus, sweep(presets=presets), summarizer, on_result=hear, log=lines.append)
    assert len(lines) == 8, "nothing was measured again"
    assert [new for _, _, new in heard[8:]] == [False] * 8
    assert [m.result for m in again] == [m.result for m in measurements]
    json.dumps([row.as_json() for row in rows.values()])


def test_an_interrupted_benchmark_says_what_is_kept(
    corpus: Connection, summarizer: SummarizerSettings, run: Run, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep().model_dump(exclude_none=True)))
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(configured(summarizer)))
    code, out, _ = run("sweep", tmp_path / "sweep.yaml", "--config", tmp_path / "model.yaml")
    registered = (
        f"model {summarizer.model}, at most 32 tokens in and 16 out; 16 abstracts of sum_assets.corpus_abstract"
    )
    assert (code, registered in out) == (0, True), out
    command = [sys.executable, "-m", "sum_assets.cli.main", "benchmark"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert any("measuring baseline, replicate 1 (1 of 6)" in line for line in process.stderr), "while it runs"
    process.send_signal(signal.SIGINT)
    assert "Stopped. What was measured is kept." in process.stderr.read()
    assert process.wait() == 1


@pytest.mark.slow
def test_a_killed_sweep_ends_with_each_cell_once(
    corpus: Connection, summarizer: SummarizerSettings, run: Run, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep(replicates=1).model_dump(exclude_none=True)))
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(configured(summarizer)))
    assert run("sweep", tmp_path / "sweep.yaml", "--config", tmp_path / "model.yaml")[0] == 0
    command = [sys.executable, "-m", "sum_assets.cli.main", "benchmark", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = "SELECT cell, created_at FROM sum_assets.benchmark_result"
    deadline = time.monotonic() + 120
    while not (before := corpus.execute(results.encode()).fetchall()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    cells = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert psutil.wait_procs(cells, timeout=120)[1] == [], "a cell does not outlive its sweep"
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {row["preset"] for row in json.loads(ended.stdout)} == {"baseline", "reference", "fast"}
    after = corpus.execute(results.encode()).fetchall()
    assert len(after) == len({cell for cell, _ in after}) == 3
    assert set(before) <= set(after), "what was measured is not measured again"

    code, out, _ = run("report", "--format", "json", "--rows", 3_680_000)
    assert (code, [(row["outcome"], row["rows"]) for row in json.loads(out)]) == (0, 3 * [("ok", 3_680_000)])
    assert "x the baseline" in run("report")[1]
    assert run("report", "fast", "baseline", "--output", tmp_path / "report.html")[0] == 0
    assert "What differs" in (tmp_path / "report.html").read_text()
    assert "Name one: --format html" in run("report", "-o", "report.txt")[2]
    assert "slow is not measured. Measured presets:" in run("report", "slow")[2]
    (tmp_path / "fleet.yaml").write_text("devices: {here: {count: 1, preset: fast}}")
    (group,) = json.loads(run("simulate", tmp_path / "fleet.yaml", "--json", "--rows", 10_000)[1])["groups"]
    (row,) = json.loads(run("report", "fast", "--format", "json", "--rows", 10_000)[1])
    beside = sum(row["seconds_by_phase"][phase] for phase in ("load_model", "runs", "ranges"))
    generating = row["days"] * 86400 - beside
    assert group["abstracts_per_second"] == pytest.approx(10_000 / generating)
    assert "The sweep has no preset slow" in run("largest-batch", "slow")[2]


@pytest.mark.slow
def test_a_preset_measured_alone_is_paired_with_a_baseline(corpus: Connection, summarizer: SummarizerSettings) -> None:
    presets = {"fast": {"batch_size": 8, "precision": "float32"}, "slow": {"batch_size": 1, "precision": "float32"}}
    presets["nowhere"] = {"device": "cuda:99"}
    plan = sweep(presets=presets, replicates=1)

    def run(*names: str, alone: bool) -> list[tuple[str, str | None, int]]:
        new: list[tuple[str, str | None, int]] = []

        def hear(m: CellMeasurement, is_new: bool, _: int) -> None:
            if is_new:
                new.append((m.cell.name, m.cell.paired_with, m.cell.replicate))

        run_sweep(corpus, plan, summarizer, names, alone=alone, on_result=hear)
        return new

    first = [(name, None, 1) for name in ("reference", "fast")]
    assert run("fast", alone=True) == [first[0], ("baseline", "reference", 1), first[1], ("baseline", "fast", 1)]
    assert run("fast", alone=True) == []
    assert run("nowhere", alone=True) == [("nowhere", None, 1)], "nothing to compare"
    assert run("slow", alone=False) == [("baseline", None, 1), ("slow", None, 1)]
    assert run("slow", alone=True) == [], "beside what was measured earlier, a baseline of now is no pair"
    report = build_report(corpus, earlier_measurements(corpus, plan, summarizer), read_corpus(corpus, ranges=4))
    speedups = {p.preset: p.speedup for p in report.presets}
    assert speedups["fast"]
    assert speedups["slow"]
    assert report.corpus.ranges == 4


def test_outcomes_are_told_apart(corpus: Connection, summarizer: SummarizerSettings, t5: Path) -> None:
    long = " ".join(["bale"] * 1500)
    corpus.execute("UPDATE sum_assets.corpus_abstract SET abstract = %s", [long])
    wide = summarizer.model_copy(update={"max_input_tokens": 1536, "max_output_tokens": 2})

    def run(memory_limit_mib: int | None, time_limit: float, **changes: str) -> tuple[str, str]:
        preset = Preset(
            device="cpu", precision="float32", attention="eager", batch_size=40, memory_limit_mib=memory_limit_mib
        )
        ids = list(range(1, 41))
        result = run_cell(Task("c", preset.model_dump(), wide.model_dump() | changes, ids, []), time_limit)
        corpus.execute("DELETE FROM sum_assets.benchmark_summary")
        return result.outcome, result.detail

    outcome, detail = run(3000, 300)
    assert (outcome, "batch_size 40 does not fit" in detail) == ("out_of_memory", True), detail
    assert run(None, 0.5)[0] == "timeout"
    assert run(None, 60, model="/nowhere") == ("failed", "model: there is no folder /nowhere.")


def test_an_exception_is_told_by_type_and_words() -> None:
    for error, outcome in (
        (UnsupportedError("device mps: none"), "unsupported"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_memory"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "out_of_memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device_lost"),
        (psycopg.errors.OutOfMemory("out of memory"), "failed"),
        (RuntimeError("size mismatch"), "failed"),
    ):
        assert classify(error).outcome == outcome


def test_a_request_that_does_not_fit_is_named(corpus: Connection, summarizer: SummarizerSettings) -> None:
    with pytest.raises(UserError, match=r"no preset slow. It has: baseline, reference, fast"):
        run_sweep(corpus, sweep(), summarizer, ["slow"])
    with pytest.raises(UserError, match=r"The corpus has 40 abstracts; the sweep takes 100 and 2"):
        run_sweep(corpus, sweep(sample=100), summarizer)
