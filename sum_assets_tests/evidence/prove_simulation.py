"""Tests the simulation: `make prove-simulation`, ten minutes on two cores.

A real Dagster on a real PostgreSQL runs backfills, two runs at a time, each in a process on one core. The first
backfill, of which one run is killed, gives the rates. Two others are simulated before they are run, one quiet and one
with a run killed in the middle of a batch. The simulated time is compared with the real one.
"""

import signal
import sys
from functools import partial
from heapq import heappop, heappush
from operator import lt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from sum_assets.database.connection import connect
from sum_assets.defs.resources import demo_summarizer
from sum_assets.simulation.fleet import Crashes, Fleet, Group, Runs
from sum_assets.simulation.monte_carlo import Simulation, simulate
from sum_assets_tests.evidence.dagster_site import DagsterSite, RunTimes
from sum_assets_tests.evidence.harness import run_in_folder, write_results

ROWS, BATCH, DEVICES = 16, 4, 2
CALIBRATION, QUIET, KILLED = 3, 4, 3
CONFIG = {
    "resources": {
        "gpu": {"config": {"device": "cpu", "batch_size": BATCH}},
        "summarizer": {"config": demo_summarizer().model_dump() | {"max_output_tokens": 48}},
    }
}
out = Console(width=120)


def fleet_from(runs: list[RunTimes], killed_at: float) -> Fleet:
    """Return a fleet with the rates and costs that the first backfill had."""
    queued = sorted(r.queued for r in runs if r.queued < killed_at)
    slots: list[float] = [queued[0]] * DEVICES
    waits = []
    for r in sorted(runs, key=lambda r: r.launched):
        waits.append(r.launched - max(heappop(slots), r.queued))
        heappush(slots, r.ended)
    whole = [r for r in runs if r.generated and r.rate and r.began and r.load and not r.killed]
    # A killed run is resumed with fewer rows: its fixed costs count, its rate does not.
    rates = [r.rate for r in whole if r.rate and r.queued < killed_at]
    (victim,) = [r for r in runs if r.killed]
    return Fleet(
        rows=1,
        rows_per_range=ROWS,
        ranges_per_run=1,
        repetitions=200,
        runs=Runs(
            backfill=queued[0],
            submit=(queued[-1] - queued[0]) / (len(queued) - 1),
            poll=max(0.0, 2 * mean(waits)),
            per_range=0,  # part of the start and the end that were measured
            start=mean(r.began - r.launched for r in whole if r.began),
            finish=mean(r.ended - r.generated for r in whole if r.generated),
        ),
        devices={
            "core": Group(
                count=DEVICES,
                abstracts_per_second=len(rates) / sum(1 / rate for rate in rates),
                load_seconds=mean(r.load for r in whole if r.load),
                batch_size=BATCH,
                measured="the first backfill, of other ranges",
                uncertainty=stdev(rates) / mean(rates) / len(rates) ** 0.5,
                run_noise=stdev(rates) / mean(rates),
                crashes=Crashes(noticed_within_seconds=max(0.0, 2 * (victim.ended - killed_at))),
            )
        },
    )


def expect(fleet: Fleet, ranges: int, killed_at: float | None = None) -> Simulation:
    """Simulate a full run over this many ranges."""
    core = fleet.devices["core"]
    assert core.crashes
    moments = () if killed_at is None else (killed_at / 3600,)
    crashes = core.crashes.model_copy(update={"at_hours": moments})
    devices = {"core": core.model_copy(update={"crashes": crashes})}
    return simulate(fleet.model_copy(update={"rows": ranges * ROWS, "devices": devices}))


def _summaries() -> int:
    with connect() as connection:
        (count,) = connection.execute("SELECT count(*) FROM sum_assets.generated_summary").fetchone() or (0,)
    return int(count)


def main(folder: Path) -> None:
    """Measure, simulate, run, compare; the table is printed and written to out/prove-simulation.json."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))  # so that Dagster and the server stop as well
    site = DagsterSite(folder, CONFIG, rows=ROWS, devices=DEVICES)
    try:
        site.open(CALIBRATION + QUIET + KILLED)
        first, quiet, killed = (
            site.keys[:CALIBRATION],
            site.keys[CALIBRATION : CALIBRATION + QUIET],
            site.keys[CALIBRATION + QUIET :],
        )
        before = _summaries()
        runs, killed_at = site.backfill(first, lambda _: _summaries() >= before + BATCH)
        assert killed_at is not None
        fleet = fleet_from(runs, killed_at)
        out.print(yaml.safe_dump(fleet.model_dump(mode="json")), markup=False)
        table = Table("backfill", "simulated s", "5 to 95 %", "real s", "off by", "within")
        tries: list[dict[str, Any]] = []
        core, costs = fleet.devices["core"], fleet.runs
        assert core.abstracts_per_second
        mid = costs.backfill + costs.poll / 2 + costs.start + core.load_seconds + 0.6 * ROWS / core.abstracts_per_second
        for name, keys, kill_after in (("quiet", quiet, None), ("one killed", killed, mid)):
            days = expect(fleet, len(keys), kill_after).days
            times, killed_at = site.backfill(keys, partial(lt, kill_after) if kill_after else None)
            real = max(r.ended for r in times)
            middle, low, high = (86400 * d for d in (days.median, days.low, days.high))
            figures = {
                "name": name,
                "simulated": middle,
                "low": low,
                "high": high,
                "real": real,
                "killed_at": killed_at,
            }
            tries.append(figures | {"ranges": len(keys), "rows": ROWS, "runs": [vars(r) for r in times]})
            within = "yes" if low <= real <= high else "no"
            label = f"{name}: {len(keys)} ranges of {ROWS}"
            cells = (f"{low:.0f} to {high:.0f}", f"{real:.0f}", f"{middle / real - 1:+.1%}", within)
            table.add_row(label, f"{middle:.0f}", *cells)
            out.print(f"{label}: {middle:.0f} s simulated ({low:.0f} to {high:.0f}), {real:.0f} s real")
            results = {"fleet": fleet.model_dump(mode="json"), "calibration": [vars(r) for r in runs], "tries": tries}
            write_results("prove-simulation", results)
        out.print(table)
    finally:
        site.close()


if __name__ == "__main__":
    run_in_folder(main)
