"""A real Dagster on a real PostgreSQL: backfills that are run, timed and killed."""

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
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg
import psutil
import yaml
from dagster._core.execution.backfill import BulkActionStatus

from sum_assets.cli.demo import pubmed_file
from sum_assets.defs.backfill import launch_backfill
from sum_assets.defs.instance import open_instance, registered_ranges, set_pool
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE
from sum_assets.summarizer.device_lease import SLOTS_VARIABLE
from sum_assets_tests.evidence.harness import run_command

PORT = 3977
_METADATA = ("seconds_total", "seconds_load_model", "summarized")


@dataclass(frozen=True)
class RunTimes:
    """Times of one run by Dagster's log, in seconds since the backfill was requested.

    `rate` is in abstracts per second. It, `load`, `generated` and `began` are None for a run that was killed.
    """

    queued: float
    launched: float
    ended: float
    killed: bool
    rate: float | None = None
    load: float | None = None
    generated: float | None = None
    began: float | None = None


class DagsterSite:
    """A real Dagster and PostgreSQL of its own, with `devices` runs at a time, one core each.

    `config` is the run configuration of every run, `rows` the abstracts of each ID range.
    """

    def __init__(self, folder: Path, config: dict[str, Any], *, rows: int, devices: int) -> None:
        self._ui: subprocess.Popen[bytes] | None = None
        self._folder, self._config, self._rows, self._devices = folder, config, rows, devices

    def open(self, ranges: int) -> None:
        """Load abstracts, cut ranges, convert the model, start Dagster, and draw the `keys` of some ranges."""
        folder = self._folder
        for variable in (DEMO_VARIABLE, URL_VARIABLE, "DAGSTER_HOME"):
            os.environ.pop(variable, None)
        # Each core is a device with a run of its own. Otherwise runs would wait for each other's lock on the CPU.
        os.environ |= {"SUM_ASSETS_HOME": str(folder), "OMP_NUM_THREADS": "1", SLOTS_VARIABLE: str(self._devices)}
        config = folder / "run.yaml"
        config.write_text(yaml.safe_dump(self._config | {"ops": {"summaries": {"config": {"limit": 1}}}}))
        for command in (["db", "start"], ["init"], ["load", str(pubmed_file())], ["ranges", "--rows", str(self._rows)]):
            run_command(*command)
        with open_instance() as instance:
            keys = [r.key for r in registered_ranges(instance)]
            set_pool(instance, self._devices)
        # The first run converts the model; it is not one of those that are timed.
        run_command("materialize", keys[0], "-c", str(config), "--select", "abstracts,summaries")
        self.keys = random.Random(0).sample(keys[1:-1], ranges)
        self._log = (folder / "ui.log").open("wb")
        self._ui = subprocess.Popen(
            [sys.executable, "-m", "sum_assets.cli.main", "ui", "--port", str(PORT), "--ranges-per-run", "1"],
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        _wait(self._answers, 120)

    def _answers(self) -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{PORT}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def backfill(
        self, keys: Sequence[str], kill: Callable[[float], bool] | None = None
    ) -> tuple[list[RunTimes], float | None]:
        """Backfill ranges. If `kill` is given, kill the first run as soon as `kill(seconds)` is true.

        Returns the times of the runs, and when one was killed.
        """
        asked, killed_at = time.time(), None
        backfill_id = launch_backfill(f"http://127.0.0.1:{PORT}", keys, self._config)
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
            return [_run_times(instance, r, asked) for r in instance.get_run_records(tagged)], killed_at

    def _kill_first(self, instance: dg.DagsterInstance, tagged: dg.RunsFilter) -> float:
        started = [r for r in instance.get_run_records(tagged) if r.start_time and not r.dagster_run.is_finished]
        run = min(started, key=lambda r: r.start_time or 0)
        entries = instance.all_logs(run.dagster_run.run_id)
        messages = "\n".join(entry.dagster_event.message or "" for entry in entries if entry.dagster_event)
        pid = re.findall(r"parent process \(pid: (\d+)\)", messages)[0]
        process = psutil.Process(int(pid))
        for victim in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        return time.time()

    def close(self) -> None:
        """Stop Dagster and the server."""
        if self._ui:
            # Code servers lead groups of their own, and outlive a webserver that ends in a hurry.
            started = psutil.Process(self._ui.pid).children(recursive=True)
            self._ui.terminate()
            _, alive = psutil.wait_procs([*started, psutil.Process(self._ui.pid)], timeout=30)
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        run_command("db", "stop")


def _wait(for_what: Callable[[], bool], seconds: float, pause: float = 1) -> None:
    until = time.monotonic() + seconds
    while not for_what():
        if time.monotonic() > until:
            raise SystemExit(f"{for_what.__name__} took more than {seconds} s")
        time.sleep(pause)


def _run_times(instance: dg.DagsterInstance, record: Any, asked: float) -> RunTimes:
    moments: dict[str, float] = {}
    summaries: dict[str, float] = {}
    for entry in instance.all_logs(record.dagster_run.run_id):
        event = entry.dagster_event
        if event is None:
            continue
        moments.setdefault(event.event_type_value, entry.timestamp - asked)
        if event.is_step_materialization and event.asset_key == dg.AssetKey("summaries"):
            metadata = event.step_materialization_data.materialization.metadata
            total, load, rows = (float(metadata[n].value) for n in _METADATA)  # type: ignore[arg-type]
            generated = entry.timestamp - asked
            summaries = {
                "rate": rows / (total - load),
                "load": load,
                "generated": generated,
                "began": generated - total,
            }
    ended = record.end_time - asked
    killed = record.dagster_run.status == dg.DagsterRunStatus.FAILURE
    return RunTimes(moments["PIPELINE_ENQUEUED"], moments["PIPELINE_STARTING"], ended, killed, **summaries)
