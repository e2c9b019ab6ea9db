"""Simulated runs: what holds whatever fails, and what an answer must be where it can be computed."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sum_assets.errors import UserError
from sum_assets.simulation.fleet import Crashes, Fleet, Group, Outages, Runs
from sum_assets.simulation.monte_carlo import simulate
from sum_assets.simulation.simulator import run_trial
from sum_assets.simulation.trial import Trial

QUIET = Runs(backfill=0, submit=0, poll=0, start=0, per_range=0, finish=0)


def group(count: int = 1, rate: float = 2.0, noise: float = 0.0, **others: object) -> Group:
    fields = dict.fromkeys(("uncertainty", "spread", "run_noise", "batch_noise"), noise)
    given = {"count": count, "abstracts_per_second": rate, "measured": "here", "batch_size": 7}
    return Group.model_validate(given | fields | others)


def fleet(
    *groups: Group, rows: int = 1000, rows_per_range: int = 90, ranges_per_run: int | None = 1, runs: Runs = QUIET,
    seed: int = 0,
) -> Fleet:  # fmt: skip
    devices = {f"group {i}": g for i, g in enumerate(groups)}
    return Fleet(
        rows=rows, rows_per_range=rows_per_range, ranges_per_run=ranges_per_run, runs=runs, seed=seed, repetitions=3,
        devices=devices,
    )  # fmt: skip


_seconds = {name: st.sampled_from([0.0, 0.7, 6.0]) for name in Runs.model_fields if name != "work"}
_runs = st.builds(Runs, work=st.booleans(), **_seconds)
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
    lambda groups, rows, size, ranges, runs, seed: fleet(
        *groups, rows=rows, rows_per_range=size, ranges_per_run=ranges, runs=runs, seed=seed
    ),
    st.lists(_groups, min_size=1, max_size=3),
    st.integers(1, 600),
    st.integers(5, 200),
    st.sampled_from([None, 1, 3]),
    _runs,
    st.integers(0, 5),
)


def kept(trial: Trial) -> dict[int, int]:
    """The abstracts that were committed, by run."""
    rows: dict[int, int] = {}
    for span in trial.spans:
        if span.kind == "working":
            assert span.run is not None
            rows[span.run] = rows.get(span.run, 0) + span.rows
    return rows


@settings(max_examples=150)
@given(_fleets)
def test_whatever_fails_each_abstract_is_kept_once(of: Fleet) -> None:
    trial = run_trial(of)
    assert kept(trial) == dict(enumerate(of.sizes()))
    # A device does one thing at a time, and a run is one device's at a time.
    lanes: list[list[tuple[float, float]]] = []
    lanes += [[(s.start, s.end) for s in trial.spans if s.device == n] for n in {s.device for s in trial.spans}]
    lanes += [[(s.start, s.end) for s in trial.spans if s.run == r] for r in range(len(of.sizes()))]
    for lane in lanes:
        for (_, before), (after, _) in pairwise(sorted(lane)):
            assert after >= before - 1e-6
    assert all(s.end >= s.start >= 0 for s in trial.spans)
    # Nothing is lost without a failure, and a failure loses one batch at most.
    for span in trial.spans:
        if span.kind == "lost":
            assert 1 <= span.rows <= max(g.batch_size for g in of.devices.values())
            assert any(a.kind == "away" and a.device == span.device and a.start == span.end for a in trial.spans)


@settings(max_examples=60)
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


@settings(max_examples=60)
@given(
    st.integers(1, 12), st.integers(1, 900), st.integers(5, 200),
    st.sampled_from([0.0, 3.0]), st.sampled_from([0.0, 2.0]), st.sampled_from([0.0, 4.0]), st.integers(1, 7),
)  # fmt: skip
def test_without_noise_and_failures_it_is_the_closed_form(
    count: int, number: int, size: int, load: float, start: float, finish: float, ranges: int
) -> None:
    """Of so many runs, each of several ranges."""
    runs = QUIET.model_copy(update={"backfill": 11.0, "start": start, "per_range": 0.5, "finish": finish})
    one = group(count, 2.0, load_seconds=load)
    of = fleet(one, rows=number * ranges * size, rows_per_range=size, ranges_per_run=ranges, runs=runs)
    expected = 11 + math.ceil(number / count) * (start + load + ranges * (size / 2 + 0.5) + finish)
    assert run_trial(of).seconds == pytest.approx(expected, rel=1e-9)


@settings(max_examples=60)
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
    simulation = simulate(of)
    assert simulation.lost_rows.median == 7
    assert simulation.lost_hours.median == pytest.approx(3 / 3600)
    assert simulation.idle.median == pytest.approx(3 / 17)


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


def test_work_starts_and_loads_once_and_again_after_a_crash() -> None:
    runs = Runs.model_validate({"work": True, "start": 20, "per_range": 0.5})
    one = fleet(group(load_seconds=40), rows=900, rows_per_range=90, ranges_per_run=None, runs=runs)
    assert one.sizes() == [90] * 10, "no range waits for others"
    assert run_trial(one).seconds == pytest.approx(20 + 40 + 10 * (45 + 0.5))
    # In the second range, 2 s into its third batch of 3.5 s.
    crashes = Crashes(at_hours=((20 + 40 + 45.5 + 9) / 3600,), noticed_within_seconds=0)
    crashed = one.model_copy(update={"devices": {"one": group(load_seconds=40, crashes=crashes)}})
    assert run_trial(crashed).seconds == pytest.approx(2 * (20 + 40) + 2 + 10 * (45 + 0.5))


def test_a_run_takes_as_many_ranges_as_in_a_backfill() -> None:
    def ranges(devices: int, rate: float, in_file: int | None = None) -> int:
        of = fleet(group(devices, rate), rows=36_800, rows_per_range=100, ranges_per_run=in_file)
        return of.ranges_in_run()

    assert ranges(1, 10.0) == 30, "five minutes"
    assert ranges(1, 0.1) == 1, "a range takes longer"
    assert ranges(8, 1e6) == 46, "all devices have work"
    assert ranges(1, 10.0, 7) == 7
    assert ranges(1, 10.0, 1000) == 368
    assert fleet(group(1, 10.0), rows=2_500, rows_per_range=100, ranges_per_run=10).sizes() == [1000, 1000, 500]
