"""How presets are ranked, told apart and recommended, from cells whose figures are known beforehand."""

from collections.abc import Callable, Sequence

import dagster as dg
import pytest
import yaml
from psycopg import Connection

from sum_assets.benchmark import run_sweep as benchmark
from sum_assets.benchmark.build_report import build_report
from sum_assets.benchmark.cell import CellResult, Task
from sum_assets.benchmark.corpus_lengths import read_corpus
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.results_table import results
from sum_assets.benchmark.run_sweep import earlier_measurements, registered_sweep, run_sweep
from sum_assets.benchmark.sweep import Sweep
from sum_assets.database.benchmark_results import BenchmarkRow, SummaryWriter, store_sweep
from sum_assets.defs.definitions import defs
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.tiny_models import sentence

Run = Callable[..., tuple[int, str, str]]
#: How many times as fast as the naive loop, by batch size.
_SPEEDUPS = {1: 1.0, 16: 1.5, 8: 5.0, 4: 3.7}
_PRESETS: dict[str, dict[str, object]] = {
    "five": {"batch_size": 8},
    "four": {"batch_size": 4},
    "nowhere": {"device": "cuda:7"},
}


class Machine:
    """A machine that is as many times as fast as another as `speed` says, and that may fail at everything."""

    speed = 1.0
    works = True


@pytest.fixture
def machine(database: Connection, monkeypatch: pytest.MonkeyPatch) -> Machine:
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)",
            [(i, sentence(i, 5 + i % 9)) for i in range(1, 61)],
        )
    machine = Machine()

    def run_cell(task: Task, _: float) -> CellResult:
        if task.preset["device"] == "cuda:7" or not machine.works:
            return CellResult("unsupported", f"device {task.preset['device']}: torch sees none.")
        rows = [BenchmarkRow(i, f"first words of {i}", 10, 4, "stop") for i in task.ids]
        SummaryWriter(task.cell, one_by_one=False).write(database, rows)
        seconds = len(rows) / _SPEEDUPS[task.preset["batch_size"]] / machine.speed
        phases = dict.fromkeys(("load_model", "read", "tokenize", "detokenize", "write", "other", "warm_up"), 0.0)
        batches = [(len(rows), 10 * len(rows), 100 * len(rows), seconds)]
        return CellResult(
            outcome="ok",
            abstracts=len(rows),
            seconds=seconds,
            phases=phases | {"generate": seconds},
            batches=batches,
            output_tokens=4 * len(rows),
        )

    monkeypatch.setattr(benchmark, "run_cell", run_cell)
    register(database, sample=32)
    return machine


def register(database: Connection, sample: int) -> None:
    presets = {name: {"device": "cpu", "precision": "float32", **changes} for name, changes in _PRESETS.items()}
    sweep = {"sample": sample, "baseline_sample": 4, "replicates": 3, "presets": presets}
    store_sweep(database, Sweep.model_validate(sweep).model_dump(), SummarizerSettings(model="/m").model_dump())


def measure(database: Connection, presets: Sequence[str], *, alone: bool) -> BenchmarkReport:
    sweep, summarizer = registered_sweep(database)
    run_sweep(database, sweep, summarizer, presets, alone=alone)
    return build_report(database, earlier_measurements(database, sweep, summarizer), read_corpus(database, ranges=1))


def test_presets_measured_at_different_times_are_ranked_by_speedup(database: Connection, machine: Machine) -> None:
    measure(database, ["five"], alone=True)
    machine.speed = 2
    measure(database, ["four"], alone=True)
    report = measure(database, ["reference"], alone=True)
    rows = {p.preset: p for p in report.presets}
    assert [rows["five"].rate.median, rows["four"].rate.median] == pytest.approx([5, 7.4])  # type: ignore[union-attr]
    assert [p.preset for p in report.presets] == ["five", "four", "reference", "baseline"]
    assert report.winner is rows["five"]
    assert report.ties == []
    assert rows["reference"].speedup
    assert rows["reference"].speedup.low == pytest.approx(1.5), "each of its replicates has a baseline beside it"
    assert "the naive loop made 1.000 to 2.000 abstracts/s" in results(report).note


def test_presets_measured_in_turn_are_ranked_by_rate(database: Connection, machine: Machine) -> None:
    report = measure(database, [], alone=False)
    assert [p.preset for p in report.presets] == ["five", "four", "reference", "baseline", "nowhere"]
    assert "naive loop made" not in results(report).note


def test_the_configuration_of_the_winner_has_its_model(database: Connection, machine: Machine) -> None:
    resources = measure(database, ["five"], alone=False).run_configuration()["resources"]
    assert resources["gpu"]["config"] == {"batch_size": 8, "device": "cpu", "precision": "float32"}
    assert SummarizerSettings(**resources["summarizer"]["config"]) == SummarizerSettings(model="/m")
    assert dg.validate_run_config(defs.resolve_job_def("summarize_corpus"), {"resources": resources})


def test_a_small_sample_is_said(database: Connection, machine: Machine) -> None:
    assert "though with" not in measure(database, ["five"], alone=False).sentence
    register(database, sample=31)
    said = measure(database, ["five"], alone=False).sentence
    assert "passes the gate, though with 31 abstracts instead of 32" in said


def test_a_benchmark_that_measures_nothing_fails(
    database: Connection, instance: dg.DagsterInstance, machine: Machine, run: Run
) -> None:
    code, out, err = run("benchmark", "--presets", "nowhere")
    assert (code, "Nothing could be measured. nowhere: unsupported. device cuda:7" in err) == (1, True), err
    assert "baseline" in out
    assert run("benchmark", "--presets", "nowhere,five")[0] == 0
    code, out, _ = run("report")
    shown = yaml.safe_load(out.partition("Run configuration:\n")[2].partition("\n\n")[0])
    assert shown["resources"]["summarizer"]["config"]["model"] == "/m"
    machine.works = False
    code, out, err = run("benchmark", "--force", "--json")
    assert (code, "Nothing could be measured. baseline: unsupported." in err, out[0]) == (1, True, "["), err
