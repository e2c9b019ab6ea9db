"""Proves the simulation: `python sum_assets_tests/evidence/prove_simulation.py`, ten minutes on two cores.

Real backfills by a real Dagster on a real PostgreSQL, two runs at a time, each a process of its own on one core. The
first, of which one run is killed, gives the rates; two others, one quiet and one with a run killed in mid-batch, are
simulated before they are run, and held against the simulation.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from operator import lt
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import dagster as dg
import psutil
import yaml
from dagster._core.execution.backfill import BulkActionStatus
from rich.console import Console
from rich.table import Table

from sum_assets.cli.demo import pubmed_file
from sum_assets.database.connection import connect
from sum_assets.defs.backfill import launch_backfill
from sum_assets.defs.instance import open_instance, registered_ranges, set_pool
from sum_assets.defs.resources.summarizer import demo_summarizer
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE
from sum_assets.simulation.fleet import Crashes, Fleet, Group, Runs
from sum_assets.simulation.monte_carlo import Simulation, simulate
from sum_assets.summarizer.device_lease import SLOTS_VARIABLE

ROWS, BATCH, DEVICES, PORT = 16, 4, 2, 3977
CALIBRATION, QUIET, KILLED = 3, 4, 3
CONFIG = {
    "resources": {
        "gpu": {"config": {"device": "cpu", "batch_size": BATCH}},
        "summarizer": {"config": demo_summarizer().model_dump() | {"max_output_tokens": 48}},
    }
}
out = Console(width=120)


@dataclass(frozen=True)
class Ran:
    """What Dagster's log says of one run: moments since the backfill was asked for, in seconds.

    `rate` is in abstracts per second; it, `load` and `generated` are None of a run that was killed.
    """

    queued: float
    launched: float
    ended: float
    killed: bool
    rate: float | None = None
    load: float | None = None
    generated: float | None = None
    began: float | None = None


class Site:
    """A database and a Dagster of its own."""

    def __init__(self, folder: Path) -> None:
        self._ui: subprocess.Popen[bytes] | None = None
        self._folder = folder

    def open(self) -> None:
        """Load abstracts, cut ranges, convert the model, and start Dagster."""
        folder = self._folder
        for variable in (DEMO_VARIABLE, URL_VARIABLE, "DAGSTER_HOME"):
            os.environ.pop(variable, None)
        # The two cores are two devices: a run on each, which would else wait for the other's lock on the CPU.
        os.environ |= {"SUM_ASSETS_HOME": str(folder), "OMP_NUM_THREADS": "1", SLOTS_VARIABLE: str(DEVICES)}
        config = folder / "run.yaml"
        config.write_text(yaml.safe_dump(CONFIG | {"ops": {"summaries": {"config": {"limit": 1}}}}))
        for command in (["db", "start"], ["init"], ["load", str(pubmed_file())], ["ranges", "--rows", str(ROWS)]):
            self.command(*command)
        with open_instance() as instance:
            keys = [r.key for r in registered_ranges(instance)]
            set_pool(instance, DEVICES)
        # The model is converted once, and no run of those that are timed is the first.
        self.command("materialize", keys[0], "-c", str(config), "--select", "abstracts,summaries")
        self.keys = random.Random(0).sample(keys[1:-1], CALIBRATION + QUIET + KILLED)
        self._log = (folder / "ui.log").open("wb")
        self._ui = subprocess.Popen(
            [sys.executable, "-m", "sum_assets.cli.main", "ui", "--port", str(PORT)],
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        _wait(self._answers, 120)

    def command(self, *arguments: str) -> None:
        """Run a command line."""
        subprocess.run([sys.executable, "-m", "sum_assets.cli.main", *arguments], check=True)

    def _answers(self) -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{PORT}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def backfill(
        self, keys: Sequence[str], kill: Callable[[float], bool] | None = None
    ) -> tuple[list[Ran], float | None]:
        """Fill ranges, and kill the run that was first when `kill`, told the seconds, says so.

        Returns what the runs did, and when it was killed.
        """
        asked, killed_at = time.time(), None
        backfill_id = launch_backfill(f"http://127.0.0.1:{PORT}", keys, CONFIG)
        with open_instance() as instance:
            tagged = dg.RunsFilter(tags={"dagster/backfill": backfill_id})
            if kill:
                _wait(lambda: kill(time.time() - asked), 200, 0.2)
                killed_at = self._kill_first(instance, tagged) - asked

            def ended() -> bool:
                backfill = instance.get_backfill(backfill_id)
                records = instance.get_run_records(tagged)
                assert backfill
                return backfill.status != BulkActionStatus.REQUESTED and all(r.dagster_run.is_finished for r in records)

            _wait(ended, 500)
            backfill = instance.get_backfill(backfill_id)
            assert backfill
            assert backfill.status == BulkActionStatus.COMPLETED_SUCCESS, backfill.status
            return [_story(instance, r, asked) for r in instance.get_run_records(tagged)], killed_at

    def _kill_first(self, instance: dg.DagsterInstance, tagged: dg.RunsFilter) -> float:
        started = [r for r in instance.get_run_records(tagged) if r.start_time and not r.dagster_run.is_finished]
        run = min(started, key=lambda r: r.start_time or 0)
        entries = instance.all_logs(run.dagster_run.run_id)
        said = "\n".join(entry.dagster_event.message or "" for entry in entries if entry.dagster_event)
        pid = re.findall(r"parent process \(pid: (\d+)\)", said)[0]
        process = psutil.Process(int(pid))
        for victim in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        return time.time()

    def close(self) -> None:
        """End Dagster and the server."""
        if self._ui:
            # Code servers lead groups of their own, and outlive a webserver that ends in a hurry.
            started = psutil.Process(self._ui.pid).children(recursive=True)
            self._ui.terminate()
            _, alive = psutil.wait_procs([*started, psutil.Process(self._ui.pid)], timeout=30)
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.command("db", "stop")


def _summaries() -> int:
    with connect() as connection:
        (count,) = connection.execute("SELECT count(*) FROM sum_assets.generated_summary").fetchone() or (0,)
    return int(count)


def _wait(for_what: Callable[[], bool], seconds: float, pause: float = 1) -> None:
    until = time.monotonic() + seconds
    while not for_what():
        if time.monotonic() > until:
            raise SystemExit(f"{for_what.__name__} took more than {seconds} s")
        time.sleep(pause)


def _story(instance: dg.DagsterInstance, record: Any, asked: float) -> Ran:
    moments: dict[str, float] = {}
    found: dict[str, float] = {}
    for entry in instance.all_logs(record.dagster_run.run_id):
        event = entry.dagster_event
        if event is None:
            continue
        moments.setdefault(event.event_type_value, entry.timestamp - asked)
        if event.is_step_materialization and event.asset_key == dg.AssetKey("summaries"):
            said = event.step_materialization_data.materialization.metadata
            total, load, rows = (float(said[n].value) for n in ("seconds_total", "seconds_load_model", "summarized"))  # type: ignore[arg-type]
            generated = entry.timestamp - asked
            found = {"rate": rows / (total - load), "load": load, "generated": generated, "began": generated - total}
    ended = record.end_time - asked
    killed = record.dagster_run.status == dg.DagsterRunStatus.FAILURE
    return Ran(moments["PIPELINE_ENQUEUED"], moments["PIPELINE_STARTING"], ended, killed, **found)


def fleet_from(runs: list[Ran], killed_at: float) -> Fleet:
    """Return a fleet of what the first backfill took."""
    queued = sorted(r.queued for r in runs if r.queued < killed_at)
    slots: list[float] = [queued[0]] * DEVICES
    waits = []
    for r in sorted(runs, key=lambda r: r.launched):
        waits.append(r.launched - max(heappop(slots), r.queued))
        heappush(slots, r.ended)
    whole = [r for r in runs if r.generated and r.rate and r.began and r.load and not r.killed]
    # What was killed is resumed with fewer rows, of which the fixed costs are as any other's, the rate is not.
    rates = [r.rate for r in whole if r.rate and r.queued < killed_at]
    (victim,) = [r for r in runs if r.killed]
    return Fleet(
        rows=1,
        rows_per_range=ROWS,
        repetitions=200,
        runs=Runs(
            backfill=queued[0],
            submit=(queued[-1] - queued[0]) / (len(queued) - 1),
            poll=max(0.0, 2 * mean(waits)),
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
    """Simulate so many ranges."""
    core = fleet.devices["core"]
    assert core.crashes
    moments = () if killed_at is None else (killed_at / 3600,)
    crashes = core.crashes.model_copy(update={"at_hours": moments})
    devices = {"core": core.model_copy(update={"crashes": crashes})}
    return simulate(fleet.model_copy(update={"rows": ranges * ROWS, "devices": devices}))


def main(folder: Path) -> None:
    """Measure, simulate, run, compare; the table is printed and written to out/prove-simulation.json."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))  # so that Dagster and the server end as well
    site = Site(folder)
    try:
        site.open()
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
        results = Path("out")
        results.mkdir(exist_ok=True)
        table = Table("backfill", "simulated s", "5 to 95 %", "real s", "off by", "held")
        tries: list[dict[str, Any]] = []
        core, costs = fleet.devices["core"], fleet.runs
        assert core.abstracts_per_second
        mid = costs.backfill + costs.poll / 2 + costs.start + core.load_seconds + 0.6 * ROWS / core.abstracts_per_second
        for name, keys, kill_after in (("quiet", quiet, None), ("one killed", killed, mid)):
            found = expect(fleet, len(keys), kill_after)
            ran, killed_at = site.backfill(keys, partial(lt, kill_after) if kill_after else None)
            real = max(r.ended for r in ran)
            middle, low, high = (86400 * d for d in (found.days.median, found.days.low, found.days.high))
            one = {"name": name, "simulated": middle, "low": low, "high": high, "real": real, "killed_at": killed_at}
            tries.append(one | {"ranges": len(keys), "rows": ROWS, "runs": [vars(r) for r in ran]})
            held = "yes" if low <= real <= high else "no"
            label = f"{name}: {len(keys)} ranges of {ROWS}"
            figures = (f"{low:.0f} to {high:.0f}", f"{real:.0f}", f"{middle / real - 1:+.1%}", held)
            table.add_row(label, f"{middle:.0f}", *figures)
            out.print(f"{label}: {middle:.0f} s simulated ({low:.0f} to {high:.0f}), {real:.0f} s real")
            written = {"fleet": fleet.model_dump(mode="json"), "calibration": [vars(r) for r in runs], "tries": tries}
            (results / "prove-simulation.json").write_text(json.dumps(written, indent=2))
        out.print(table)
    finally:
        site.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with TemporaryDirectory(prefix="sum_assets_") as scratch:
            main(Path(scratch))
