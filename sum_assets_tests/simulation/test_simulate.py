"""Simulated runs: what holds whatever fails, and what an answer must be where it can be computed."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import Connection

from sum_assets.benchmark import run as benchmark
from sum_assets.benchmark.cell import CellResult, Task
from sum_assets.benchmark.run import registered_sweep, run_sweep
from sum_assets.benchmark.sweep import Sweep
from sum_assets.database.benchmark_results import BenchmarkRow, SummaryWriter, store_sweep
from sum_assets.errors import UserError
from sum_assets.paths import project_file
from sum_assets.simulation.fleet import Crashes, Fleet, Group, Outages, Rate, Runs, read_fleet
from sum_assets.simulation.monte_carlo import simulate
from sum_assets.simulation.simulator import run_trial
from sum_assets.simulation.trial import Trial
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.tiny_models import sentence

QUIET = Runs(backfill=0, submit=0, poll=0, start=0, finish=0)


def group(count: int = 1, rate: float = 2.0, noise: float = 0.0, **others: object) -> Group:
    fields = dict.fromkeys(("uncertainty", "spread", "run_noise", "batch_noise"), noise)
    given = {"count": count, "abstracts_per_second": rate, "measured": "here", "batch_size": 7}
    return Group.model_validate(given | fields | others)


def fleet(*groups: Group, rows: int = 1000, rows_per_range: int = 90, runs: Runs = QUIET, seed: int = 0) -> Fleet:
    devices = {f"group {i}": g for i, g in enumerate(groups)}
    return Fleet(rows=rows, rows_per_range=rows_per_range, runs=runs, seed=seed, repetitions=3, devices=devices)


_runs = st.builds(Runs, **{name: st.sampled_from([0.0, 0.7, 6.0]) for name in Runs.model_fields})
_crashes = st.builds(
    Crashes,
    every_hours=st.sampled_from([None, 0.02, 0.2]),
    at_hours=st.lists(st.floats(0, 0.2), max_size=3).map(tuple),
    noticed_within_seconds=st.sampled_from([0.0, 60.0]),
)
_outages = st.builds(Outages, every_hours=st.sampled_from([0.05, 0.3]), repair_hours=st.sampled_from([0.0, 0.04]))
_groups = st.builds(
    group,
    count=st.integers(1, 4),
    rate=st.sampled_from([1.0, 2.0, 9.0]),
    noise=st.sampled_from([0.0, 0.2]),
    per_host=st.integers(1, 3),
    load_seconds=st.sampled_from([0.0, 4.0]),
    batch_size=st.integers(1, 30),
    crashes=st.none() | _crashes,
    outages=st.none() | _outages,
)
_fleets = st.builds(
    lambda groups, rows, size, runs, seed: fleet(*groups, rows=rows, rows_per_range=size, runs=runs, seed=seed),
    st.lists(_groups, min_size=1, max_size=3),
    st.integers(1, 600),
    st.integers(5, 200),
    _runs,
    st.integers(0, 5),
)


def kept(trial: Trial) -> dict[int, int]:
    """The abstracts that were committed, by range."""
    found: dict[int, int] = {}
    for span in trial.spans:
        if span.kind == "working":
            assert span.id_range is not None
            found[span.id_range] = found.get(span.id_range, 0) + span.rows
    return found


@settings(deadline=None, max_examples=150)
@given(_fleets)
def test_whatever_fails_each_abstract_is_kept_once(of: Fleet) -> None:
    trial = run_trial(of)
    assert kept(trial) == dict(enumerate(of.sizes()))
    # A device does one thing at a time, and a range is one device's at a time.
    lanes: list[list[tuple[float, float]]] = []
    lanes += [[(s.start, s.end) for s in trial.spans if s.device == n] for n in {s.device for s in trial.spans}]
    lanes += [[(s.start, s.end) for s in trial.spans if s.id_range == r] for r in range(len(of.sizes()))]
    for lane in lanes:
        for (_, before), (after, _) in pairwise(sorted(lane)):
            assert after >= before - 1e-6
    assert all(s.end >= s.start >= 0 for s in trial.spans)
    # Nothing is lost without a failure, and a failure loses one batch at most.
    for span in trial.spans:
        if span.kind == "lost":
            assert 1 <= span.rows <= max(g.batch_size for g in of.devices.values())
            assert any(a.kind == "away" and a.device == span.device and a.start == span.end for a in trial.spans)


@settings(deadline=None, max_examples=60)
@given(_fleets)
def test_no_run_is_faster_than_its_devices_and_equal_seeds_are_equal(of: Fleet) -> None:
    quiet = {
        name: g.model_copy(update=dict.fromkeys(("uncertainty", "spread", "run_noise", "batch_noise"), 0.0))
        for name, g in of.devices.items()
    }
    exact = of.model_copy(update={"devices": quiet})
    rate = sum(g.count * (g.abstracts_per_second or 0) for g in quiet.values())
    assert run_trial(exact).seconds >= of.rows / rate - 1e-3
    assert run_trial(of).spans == run_trial(of).spans


def test_other_seeds_and_repetitions_are_other_runs() -> None:
    one = fleet(group(2, noise=0.2))
    runs = {run_trial(one).seconds, run_trial(one, 1).seconds, run_trial(one.model_copy(update={"seed": 1})).seconds}
    assert len(runs) == 3


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 12), st.integers(1, 900), st.integers(5, 200),
    st.sampled_from([0.0, 3.0]), st.sampled_from([0.0, 2.0]), st.sampled_from([0.0, 4.0]),
)  # fmt: skip
def test_without_noise_and_failures_it_is_the_closed_form(
    count: int, ranges: int, size: int, load: float, start: float, finish: float
) -> None:
    runs = QUIET.model_copy(update={"backfill": 11.0, "start": start, "finish": finish})
    of = fleet(group(count, 2.0, load_seconds=load), rows=ranges * size, rows_per_range=size, runs=runs)
    expected = 11 + math.ceil(ranges / count) * (start + load + size / 2 + finish)
    assert run_trial(of).seconds == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 2000), st.integers(5, 200), _runs)
def test_more_devices_are_never_slower(count: int, rows: int, size: int, runs: Runs) -> None:
    def seconds(devices: int) -> float:
        of = fleet(group(devices, load_seconds=2), rows=rows, rows_per_range=size, runs=runs)
        return run_trial(of).seconds

    assert seconds(count + 1) <= seconds(count) + 1e-6


def test_a_crash_costs_what_was_in_flight_and_the_range_goes_on_where_it_was() -> None:
    # Batches of 7 at 2/s: 3.5 s each. After 10 s, two are committed and 3 s of the third are lost.
    crashes = Crashes(at_hours=(10 / 3600,), noticed_within_seconds=0)
    of = fleet(group(1, 2.0, crashes=crashes), rows=28, rows_per_range=28)
    trial = run_trial(of)
    assert trial.seconds == pytest.approx(10 + 7)
    assert [(s.kind, s.rows) for s in trial.spans if s.end > s.start] == [("working", 14), ("lost", 7), ("working", 14)]
    found = simulate(of)
    assert found.lost_rows.median == 7
    assert found.lost_hours.median == pytest.approx(3 / 3600)
    assert found.idle.median == pytest.approx(3 / 17)


def test_a_host_that_is_away_leaves_its_ranges_to_others() -> None:
    outage = Outages(every_hours=1e-5, repair_hours=1000, noticed_within_seconds=0)
    of = fleet(group(2, outages=outage, per_host=2), group(1), rows=200, rows_per_range=20)
    trial = run_trial(of)
    assert kept(trial) == dict(enumerate(of.sizes()))
    assert {s.device for s in trial.spans if s.kind == "working" and s.rows} == {2}


def test_failures_without_end_are_said() -> None:
    often = Crashes(every_hours=3e-4, noticed_within_seconds=0)
    with pytest.raises(UserError, match=r"1,080 of 1,080 abstracts are left.*batches smaller"):
        run_trial(fleet(group(1, batch_size=90, crashes=often), rows=1080))


def test_a_recovery_longer_than_the_run_is_waited_for() -> None:
    outages = Outages(every_hours=0.05, repair_hours=0, noticed_within_seconds=300)
    crashes = Crashes(at_hours=(0.0,), noticed_within_seconds=0)
    of = fleet(group(2, batch_size=1, per_host=2, crashes=crashes, outages=outages), rows=1, rows_per_range=5)
    assert run_trial(of).seconds > 100 * 0.5, "with this seed the range is given back after minutes"


@pytest.mark.parametrize("path", sorted(project_file("fleets").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_fleets_play_and_say_what_they_assume(path: Path) -> None:
    of = read_fleet(path).model_copy(update={"rows": 400_000, "repetitions": 2})
    of = of.with_rates({name: Rate(name, 3.0, 5.0, 64, None) for name in of.presets})
    found = simulate(of)
    assert found.days.low > 0
    assert sum(g.rows_per_device * g.count for g in found.groups) == pytest.approx(of.rows)
    assert all(sum(g.shares.values()) == pytest.approx(1) and min(g.shares.values()) >= 0 for g in found.groups)
    assert len(found.assumptions) == sum(g.assumption is not None for g in of.devices.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: 5\n", "line 1: devices: Field required"),
        ("devices:\n  a:\n    count: 0\n    preset: x\n", "line 3: devices.a.count: .*greater than or equal to 1"),
        ("devices:\n  a: {count: 1}\n", "line 2: devices.a: .*either preset or abstracts_per_second"),
        ("devices:\n  a: {count: 1, abstracts_per_second: 2}\n", "line 2: devices.a: .*measured or assumption"),
        ("devices:\n  a: {count: 1, preset: x, crashs: {}}\n", "line 2: devices.a.crashs: Extra inputs"),
        ("devices: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_fleet(path)


def test_the_command_prints_days_and_assumptions(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "rows: 40000\nrepetitions: 3\ndevices:\n  tpu: {count: 2, abstracts_per_second: 1, assumption: a guess}\n"
    )
    code, out, err = run("simulate", path, "--plot", tmp_path / "run.png")
    assert (code, (tmp_path / "run.png").read_bytes()[:4]) == (0, b"\x89PNG"), err
    assert "40,000 abstracts: " in out
    assert "* assumed, not measured: tpu: 1 abstracts/s: a guess" in out
    read = json.loads(run("simulate", path, "--json", "--rows", 20000)[1])
    assert read["rows"] == 20000
    assert read["groups"][0]["assumed"] is True
    assert "FILE.png or FILE.svg" in run("simulate", path, "--plot", "x.gif")[2]


def test_more_devices_are_compared(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    noise = "uncertainty: 0, run_noise: 0, batch_noise: 0"
    path.write_text(
        "rows: 40000\nrepetitions: 2\nruns: {backfill: 0, submit: 0, poll: 0, start: 0, finish: 0}\n"
        f"devices:\n  tpu: {{count: 3, abstracts_per_second: 1, measured: here, {noise}}}\n"
    )
    # Four ranges of 10,000 s each: three devices take as long as two, and eight as four.
    found = json.loads(run("simulate", path, "--devices", "8,1,2,3,4", "--json")[1])
    assert [one["devices"] for one in found] == [1, 2, 3, 4, 8]
    assert [one["days"]["median"] * 86400 for one in found] == pytest.approx([40000, 20000, 20000, 10000, 10000])
    assert [one["perfect_days"] * 86400 for one in found] == pytest.approx([40000, 20000, 40000 / 3, 10000, 5000])
    assert [one["idle"]["median"] for one in found] == pytest.approx([0, 0, 1 / 3, 0, 0.5])
    code, out, err = run("simulate", path, "--devices", "1,8", "--plot", tmp_path / "scaling.png")
    assert (code, (tmp_path / "scaling.png").read_bytes()[:4]) == (0, b"\x89PNG"), err
    assert [line.split() for line in out.splitlines() if line.strip()[:1] in ("1", "8")] == [
        ["1", "0.463", "0.463", "to", "0.463", "0.463", "0.0%", "0.463"],
        ["8", "0.116", "0.116", "to", "0.116", "0.0579", "50.0%", "0.926"],
    ]
    assert "'1,x' is not valid. Expected whole numbers from 1" in run("simulate", path, "--devices", "1,x")[2]
    path.write_text(path.read_text() + f"  cpu: {{count: 1, abstracts_per_second: 1, assumption: a guess, {noise}}}\n")
    assert "name one kind of tpu, cpu, as in tpu=1,2,4" in run("simulate", path, "--devices", "1,2")[2]
    found = json.loads(run("simulate", path, "--devices", "tpu=1,3", "--json")[1])
    # With the other kind's one device they are two and four.
    assert [one["days"]["median"] * 86400 for one in found] == pytest.approx([20000, 10000])
    assert [one["perfect_days"] * 86400 for one in found] == pytest.approx([20000, 10000])


#: Of the sweep below: seconds per abstract in the first and in the second replicate.
_PACES = (0.2, 0.3)


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
        seconds, batches = len(rows) * _PACES[replicate], len(rows) // task.preset["batch_size"]
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

    def played(own: str = "") -> Any:
        path.write_text(
            "rows: 40000\nrows_per_range: 100\nruns: {backfill: 0, submit: 0, poll: 0, start: 0, finish: 0}\n"
            f"devices:\n  here: {{count: 1, preset: fast, run_noise: 0, batch_noise: 0{own}}}\n"
        )
        code, out, err = run("simulate", path, "--json")
        assert code == 0, err
        return json.loads(out)

    found = played()
    (here,) = found["groups"]
    assert here["abstracts_per_second"] == pytest.approx(4), "0.25 s each"
    assert here["source"] == "preset fast of the registered sweep, for the corpus's lengths"
    assert here["assumed"] is False
    # 400 ranges of 25 s, each after 6 s of loading, the median of 5 and 7.
    assert here["shares"]["starting"] / here["shares"]["working"] == pytest.approx(6 / 25, rel=0.1)
    code, out, err = run("report", "--format", "json", "--rows", 40000)
    assert code == 0, err
    days = {row["preset"]: row for row in json.loads(out)}["fast"]
    loading = 400 * 6 / 86400
    width = math.log((found["days"]["high"] - loading) / (found["days"]["low"] - loading))
    # 5 to 95 % of the runs are 1.645 standard deviations to each side, the report's 95 % two.
    assert width == pytest.approx(math.log(days["days_high"] / days["days_low"]) * 1.645 / 2, rel=0.15)

    own = played(", load_seconds: 25, uncertainty: 0")
    assert own["groups"][0]["shares"]["starting"] == pytest.approx(0.5), "what the file says itself stays"
    assert own["days"]["low"] == own["days"]["high"]


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
