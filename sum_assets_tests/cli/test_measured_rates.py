"""The command `simulate`, with rates from measured presets."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from sum_assets.benchmark import run_sweep as benchmark
from sum_assets.benchmark.cell import CellResult, Task
from sum_assets.benchmark.run_sweep import registered_sweep, run_sweep
from sum_assets.benchmark.sweep import Sweep
from sum_assets.database.benchmark_results import BenchmarkRow, SummaryWriter, store_sweep
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.tiny_models import sentence

#: Of the sweep below, in the first and in the second replicate.
_SECONDS_PER_ABSTRACT = (0.2, 0.3)


@pytest.fixture
def measured(database: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A sweep that is measured but for `later`, in cells whose figures are known beforehand."""
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)",
            [(i, sentence(i, 5 + i % 9)) for i in range(1, 41)],
        )
    ran: dict[str, int] = {}

    def run_cell(task: Task, _: float) -> CellResult:
        if task.preset["device"] == "cuda:7":
            return CellResult("unsupported", "device cuda:7: torch sees none.")
        replicate = ran[str(task.preset)] = ran.get(str(task.preset), -1) + 1
        rows = [BenchmarkRow(i, "first words", 10, 4, "stop") for i in task.ids]
        SummaryWriter(task.cell, one_by_one=False).write(database, rows)
        seconds, batches = len(rows) * _SECONDS_PER_ABSTRACT[replicate], len(rows) // task.preset["batch_size"]
        size = task.preset["batch_size"]
        phases = dict.fromkeys(("read", "tokenize", "detokenize", "write", "other", "warm_up"), 0.0)
        return CellResult(
            outcome="ok",
            abstracts=len(rows),
            seconds=seconds,
            phases=phases | {"load_model": 5.0 + 2 * replicate, "generate": seconds},
            batches=[(size, 10 * size, 100 * size, seconds / batches)] * batches,
            output_tokens=4 * len(rows),
        )

    monkeypatch.setattr(benchmark, "run_cell", run_cell)
    presets = {
        "fast": {"device": "cpu", "precision": "float32", "batch_size": 8},
        "pair": {"devices": ["cuda:8", "cuda:9"], "batch_size": 8},
        "nowhere": {"device": "cuda:7"},
        "later": {"device": "cpu", "batch_size": 4},
    }
    sweep = Sweep.model_validate({"sample": 16, "baseline_sample": 4, "replicates": 2, "presets": presets})
    store_sweep(database, sweep.model_dump(), SummarizerSettings().model_dump())
    run_sweep(database, *registered_sweep(database), ["fast", "pair", "nowhere"])
    return database


@pytest.mark.usefixtures("measured")
def test_a_measured_preset_gives_rate_loading_batches_and_uncertainty(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "fleet.yaml"

    def simulated(fields: str = "") -> Any:
        path.write_text(
            "rows: 40000\nrows_per_range: 100\nranges_per_run: 1\n"
            "runs: {backfill: 0, submit: 0, poll: 0, start: 0, per_range: 0, finish: 0}\n"
            f"devices:\n  here: {{count: 1, preset: fast, run_noise: 0, batch_noise: 0{fields}}}\n"
        )
        code, out, err = run("simulate", path, "--json")
        assert code == 0, err
        return json.loads(out)

    simulation = simulated()
    (here,) = simulation["groups"]
    assert here["abstracts_per_second"] == pytest.approx(4), "0.25 s each"
    assert here["source"] == "preset fast of the registered sweep, for the corpus's lengths"
    assert here["assumed"] is False
    # 400 ranges of 25 s, each after 6 s of loading, the median of 5 and 7.
    assert here["shares"]["starting"] / here["shares"]["working"] == pytest.approx(6 / 25, rel=0.1)
    code, out, err = run("report", "--format", "json", "--rows", 40000)
    assert code == 0, err
    days = {row["preset"]: row for row in json.loads(out)}["fast"]
    loading = 400 * 6 / 86400
    width = math.log((simulation["days"]["high"] - loading) / (simulation["days"]["low"] - loading))
    # 5 to 95 % of the runs are 1.645 standard deviations to each side, the report's 95 % two.
    assert width == pytest.approx(math.log(days["days_high"] / days["days_low"]) * 1.645 / 2, rel=0.15)

    overridden = simulated(", load_seconds: 25, uncertainty: 0")
    assert overridden["groups"][0]["shares"]["starting"] == pytest.approx(0.5), "what the file says itself stays"
    assert overridden["days"]["low"] == overridden["days"]["high"]


@pytest.mark.usefixtures("measured")
def test_ranges_are_cut_by_the_rate_of_the_winner(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("ranges", "--hours", 3 / 3600)
    assert code == 0, err
    said, cut = out.splitlines()
    assert said.startswith("5 abstracts/s, by the preset reference (")
    assert said.endswith(": 15 abstracts take 3 seconds")
    assert cut.startswith("3 ID ranges added, 3 in all")
    assert "`sum-assets ranges --rows 18000` makes ranges of an hour each." in run("report", "--rows", 3_680_000)[1]


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("later", "Preset later was not measured in the registered sweep. Measured: "),
        ("nowhere", "Preset nowhere has no rate: unsupported. device cuda:7: torch sees none."),
        ("pair", "Preset pair was measured on several devices at once"),
        ("fast, assumption: a guess", "a preset's rate is from the database: leave out measured and assumption"),
    ],
)
def test_a_preset_without_a_devices_rate_is_named(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, preset: str, message: str
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(f"devices:\n  here: {{count: 1, preset: {preset}}}\n")
    code, _, err = run("simulate", path)
    assert (code, message in err.replace("\n", " ")) == (1, True), err


@pytest.mark.usefixtures("database_url")
def test_a_preset_that_nobody_measured_is_no_rate(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("devices:\n  here: {count: 1, preset: bf16-64}\n")
    assert "No sweep is registered" in run("simulate", path)[2]
