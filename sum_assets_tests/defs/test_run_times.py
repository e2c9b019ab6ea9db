"""How long a run took to begin, by Dagster's own log."""

import time
from types import SimpleNamespace
from typing import Any

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from sum_assets.backfill_time import START_SECONDS
from sum_assets.defs.run_times import start_seconds


def test_the_start_of_a_run_counts_from_its_launch(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, "summarize_corpus", status=dg.DagsterRunStatus.STARTED)
    context: Any = SimpleNamespace(instance=instance, run=run, retry_number=0)
    assert start_seconds(context) == START_SECONDS, "another process than the daemon launched it"
    before = time.time()
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", job_name="summarize_corpus"), run.run_id)
    after = time.time()
    time.sleep(0.2)
    least = time.time() - after
    seconds = start_seconds(context)
    assert least <= seconds <= time.time() - before
    context.retry_number = 1
    assert start_seconds(context) == START_SECONDS
