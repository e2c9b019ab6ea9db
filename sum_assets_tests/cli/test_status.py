"""What `status` says beside the states: what waits in runs, how fast the runs are, when the rest will be done."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.database.run_rate import record_range_run
from sum_assets.id_range import IdRange

Run = Callable[..., tuple[int, str, str]]
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def states(run: Run) -> list[str]:
    return [one["state"] for one in json.loads(run("status", "--json")[1])["ranges"]]


def test_ranges_of_runs_that_wait_are_queued(run: Run, keys: list[str], instance: dg.DagsterInstance) -> None:
    assert states(run) == ["done", "not begun", "not begun", "not begun"]
    status = dg.DagsterRunStatus
    for tags, run_status in (
        ({"dagster/partition": keys[3]}, status.NOT_STARTED),
        (dict(zip(RANGE_TAGS, keys[:2], strict=True)), status.STARTED),
        ({"dagster/partition": keys[2]}, status.CANCELED),
        ({"dagster/partition": "bf16-64"}, status.NOT_STARTED),  # of a benchmark
        ({}, status.NOT_STARTED),
    ):
        instance.add_run(dg.DagsterRun(job_name="corpus", status=run_status, tags=tags))
    assert states(run) == ["done", "queued", "not begun", "queued"]
    out = run("status")[1]
    assert "2 queued, 1 done, 1 not begun\nabstracts: 20 queued, 10 done, 10 not begun" in out


def test_it_says_how_fast_runs_are_and_when_they_will_be_through(run: Run, keys: list[str]) -> None:
    pace = r"[\d.]+ abstracts/s, measured on 1 range\. "
    assert re.search(pace + r"Nothing runs\. 30 abstracts are left: \d", run("status")[1])
    with open_database() as own, range_lease(own, IdRange.from_key(keys[1]), "run"):
        until = r"30 abstracts are left: until about 20\d\d-\d\d-\d\d \d\d:\d\d \S+\."
        assert re.search(pace + until, run("status")[1])
    forecast = json.loads(run("status", "--json")[1])["forecast"]
    assert forecast["ranges_measured"] == 1
    assert forecast["seconds_left"] == pytest.approx(30 / forecast["abstracts_per_second"])
    assert forecast["interval"] == [forecast["seconds_left"]] * 2


def test_another_model_beside_the_published_one_has_its_own_progress(
    run: Run, keys: list[str], database: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert run("materialize", keys[1], "-c", tmp_path / "run.yaml")[0] == 0
    assert "ranges made" not in run("status")[1], "of one fingerprint, the states say all"
    settings = '{"model": "other", "engine": "transformers", "precision": "float32"}'
    database.execute("INSERT INTO sum_assets.summarizer_config VALUES ('beside', %s)", [settings])
    record_range_run(database, IdRange.from_key(keys[1]), "beside", "run", 10, 5.0)
    tags = dict(zip(RANGE_TAGS, keys[:2], strict=True))
    instance.add_run(dg.DagsterRun(job_name="corpus", status=dg.DagsterRunStatus.STARTED, tags=tags))
    out = run("status")[1]
    assert re.search(r"beside +other +transformers +float32 +1 +0 *\n", out)
    assert re.search(r" lead +2 +2 *\n", out)
    assert "30 abstracts are left: until about" in out
    found = json.loads(run("status", "--json")[1])
    assert found["abstracts_left"] == 30, "20 of ranges not begun, and 10 of the range that the run has before it"
    progress = {one["fingerprint"]: (one["ranges_made"], one["ranges_published"]) for one in found["fingerprints"]}
    assert progress.pop("beside") == (1, 0)
    assert list(progress.values()) == [(2, 2)]


def test_watch_looks_again_until_it_is_interrupted(run: Run, keys: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", WATCH]
    with (tmp_path / "watch.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    end = time.monotonic() + 60
    while (tmp_path / "watch.log").stat().st_size == 0:
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1)  # two looks
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "3 not begun, 1 done" in (tmp_path / "watch.log").read_text()
    code, _, err = run("status", "--watch", "--json")
    assert (code, "Leave one of them out" in err) == (1, True)


WATCH = """
import signal, sys
from sum_assets.cli import main, status
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test may run where it is ignored
status._WATCH_EVERY = 0.2
status.out._force_terminal = True
sys.argv = ["sum-assets", "status", "--watch"]
main.main()
"""
