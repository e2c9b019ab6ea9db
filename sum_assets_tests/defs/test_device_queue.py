"""Dagster's pool and the lock on a device together: runs from its queue, and one that is none of its."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from psycopg import Connection

from sum_assets.defs.backfill import launch_backfill
from sum_assets.defs.instance import register_ranges
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.summarizer.device_lease import FOLDER_VARIABLE
from sum_assets_tests.faults.cases import wait_until
from sum_assets_tests.faults.deployment import Deployment
from sum_assets_tests.faults.patches import GENERATED
from sum_assets_tests.tiny_models import sentence

#: The first takes some seconds, since what the daemon runs is slowed between batches.
LONG, SHORT, OUTSIDE = IdRange(1, 200), IdRange(201, 210), IdRange(211, 220)
#: Has imported everything when it is told to go.
_READY = "import sys, sum_assets.defs.definitions; from sum_assets.cli.main import main; sys.stdin.readline(); main()"


@pytest.fixture
def config(t5: Path) -> dict[str, Any]:
    summarizer = {"model": str(t5), "prompt": "", "max_input_tokens": 32, "max_output_tokens": 16}
    gpu = {"device": "cpu", "precision": "float32", "batch_size": 2}
    return {"resources": {"summarizer": {"config": summarizer}, "gpu": {"config": gpu}}}


@pytest.mark.slow
def test_queued_runs_and_one_from_a_terminal_take_turns_on_a_device(
    database: Connection, instance: dg.DagsterInstance, config: dict[str, Any], tmp_path: Path
) -> None:
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)",
            [(i, sentence(i, 5 + i % 9)) for i in range(1, 221)],
        )
    register_ranges(instance, [LONG, SHORT, OUTSIDE])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    environment = {GENERATED: str(tmp_path / "generated"), FOLDER_VARIABLE: str(tmp_path / "leases")}
    deployment = Deployment(tmp_path, environment)
    command = [sys.executable, "-c", _READY, "materialize", OUTSIDE.key, "--config", str(tmp_path / "run.yaml")]
    said = (tmp_path / "outside.log").open("w+")
    outside = subprocess.Popen(
        command, env=deployment.environment, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True
    )
    count = "SELECT count(*) FROM sum_assets.generated_summary"

    def launch() -> bool:
        """Return whether the code server was there for it, too."""
        with suppress(UserError):
            return bool(launch_backfill(deployment.url, [LONG.key], config))
        return False

    def runs_of(id_range: IdRange) -> list[dg.RunRecord]:
        return list(instance.get_run_records(dg.RunsFilter(tags={"dagster/partition": id_range.key})))

    try:
        wait_until(deployment.answers, 90, "the webserver")
        wait_until(launch, 90, "the launch of the backfill")
        wait_until(lambda: (database.execute(count.encode()).fetchone() or (0,))[0] > 0, 240, "the first summary")
        launch_backfill(deployment.url, [SHORT.key], config)
        outside.communicate("go\n", timeout=240)
        wait_until(lambda: any(r.dagster_run.is_finished for r in runs_of(SHORT)), 240, "the end of the queued runs")
    finally:
        outside.kill()
        outside.wait()
        deployment.close()
    said.seek(0)
    heard = said.read()
    said.close()
    assert outside.returncode == 0, heard
    (long,), (short,), (alone,) = (runs_of(id_range) for id_range in (LONG, SHORT, OUTSIDE))
    assert {r.dagster_run.status for r in (long, short, alone)} == {dg.DagsterRunStatus.SUCCESS}
    assert (short.start_time or 0) >= (long.end_time or 0) > 0, "the pool lets one of two through"

    # Who has the device commits; a run that waits has nothing.
    query = (
        "SELECT min(created_at), max(created_at), run_id, count(*) FROM sum_assets.generated_summary GROUP BY run_id"
    )
    first, second, third = sorted(database.execute(query.encode()).fetchall())
    assert [first[2:], second[3], third[3]] == [(long.dagster_run.run_id, 200), 10, 10]
    assert first[1] < second[0], "never two at once"
    assert second[1] < third[0], "never two at once"

    (holder,) = set(re.findall(r"waiting for cpu, in use by process (\d+) of ", heard))
    events = [entry.dagster_event for entry in instance.all_logs(long.dagster_run.run_id) if entry.dagster_event]
    assert holder in {str(event.pid) for event in events if event.step_key == "summaries"}, "the step that has it"
