"""What the UI says while a backfill goes on: how far it is, and when it will end."""

import json
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from psycopg import Connection

from sum_assets.defs.definitions import defs
from sum_assets.defs.resources import PostgresResource
from sum_assets.id_range import IdRange

Run = Callable[..., tuple[int, str, str]]
KEY = dg.AssetKey("corpus_status")
S = BulkActionStatus


@pytest.fixture
def keys(keys: list[str], database: Connection) -> list[str]:
    """The first range was done at two abstracts a second."""
    database.execute("UPDATE sum_assets.range_run SET began_at = ended_at - interval '5 s'")
    return keys


def backfill(instance: dg.DagsterInstance, name: str, *assets: str) -> PartitionBackfill:
    """Request a backfill of assets, or of the job."""
    selected = [dg.AssetKey(asset) for asset in assets] or None
    requested = PartitionBackfill(name, S.REQUESTED, False, {}, time.time(), asset_selection=selected)
    instance.add_backfill(requested)
    return requested


class Sensor:
    """The sensor, ticking as in Dagster's daemon: its cursor is kept, what it records is logged."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self.cursor = instance, ""

    def tick(self) -> str:
        context = dg.build_sensor_context(
            self._instance, cursor=self.cursor, resources={"postgres": PostgresResource()}
        )  # fmt: skip
        data = defs.resolve_sensor_def("record_corpus_status").evaluate_tick(context)
        for event in data.asset_events:
            self._instance.report_runless_asset_event(event)
        self.cursor = data.cursor or ""
        return str(data.skip_message)

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was recorded, the newest first."""
        found = self._instance.fetch_materializations(KEY, limit=10).records
        return [
            {name: value.value for name, value in record.asset_materialization.metadata.items()}
            for record in found
            if record.asset_materialization
        ]


def test_it_is_recorded_while_a_backfill_goes_on_and_once_after_it(
    run: Run, database: Connection, instance: dg.DagsterInstance, keys: list[str]
) -> None:
    sensor = Sensor(instance)
    assert sensor.tick() == "No backfill of ID ranges goes on."
    measuring = backfill(instance, "measuring", "benchmark")
    assert sensor.tick() == "No backfill of ID ranges goes on."
    assert sensor.records == []
    instance.update_backfill(measuring._replace(status=S.COMPLETED_SUCCESS))

    requested = backfill(instance, "all", "abstracts", "summaries", "summary_table")
    tags = {"dagster/partition": keys[1]}
    instance.add_run(dg.DagsterRun(job_name="corpus", status=dg.DagsterRunStatus.NOT_STARTED, tags=tags))
    assert "2 abstracts/s, measured on 1 range. 30 abstracts are left: until about 20" in sensor.tick()
    (record,) = sensor.records
    expected = {"done": 1, "running": 0, "queued": 1, "failed": 0, "stale": 0, "not_begun": 2}
    assert {state: record[f"ranges_{state}"] for state in expected} == expected
    assert {state: record[f"abstracts_{state}"] for state in expected} == {s: 10 * n for s, n in expected.items()}
    assert (record["abstracts_left"], record["abstracts_per_second"]) == (30, 2.0)
    assert [record[f"hours_left{end}"] for end in ("_low", "", "_high")] == [pytest.approx(15 / 3600, abs=1e-4)] * 3
    assert record["ends_at"] == pytest.approx(time.time() + 15, abs=10)
    assert "| queued | 1 | 10 |" in record["states"]
    assert "| all | 4 | 40 |" in record["states"]
    totals = json.loads(run("status", "--json")[1])["totals"]
    assert totals == {"done": 1, "queued": 1, "not begun": 2}, "the command says the same"

    instance.update_backfill(requested._replace(status=S.COMPLETED_SUCCESS))
    sensor.tick()
    assert len(sensor.records) == 2
    assert sensor.tick() == "No backfill of ID ranges goes on."
    assert len(sensor.records) == 2


def test_a_backfill_of_days_is_not_recorded_every_minute(
    database: Connection, instance: dg.DagsterInstance, keys: list[str]
) -> None:
    sensor = Sensor(instance)
    backfill(instance, "of the job")
    for left, pause in (("5 s", 0), ("1 hour", 22), ("10 days", 600)):
        sensor.cursor = ""
        database.execute("UPDATE sum_assets.range_run SET began_at = ended_at - %s::interval", [left])
        before = len(sensor.records)
        sensor.tick()
        assert len(sensor.records) == before + 1
        assert float(sensor.cursor) == pytest.approx(time.time() + pause, abs=10)
    assert sensor.tick() == "It was recorded a moment ago, and the end is hours away."
    sensor.cursor = str(time.time() - 1)
    sensor.tick()
    assert len(sensor.records) == 4


def test_without_a_rate_it_says_so(database: Connection, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("id_range", [IdRange(1, 9).key])
    backfill(instance, "all", "summaries")
    sensor = Sensor(instance)
    assert "No range is done yet" in sensor.tick()
    (record,) = sensor.records
    assert record["forecast"] == "Nothing was measured yet."
    assert "hours_left" not in record


def test_the_sensor_is_on_and_nothing_else_makes_the_asset() -> None:
    assert defs.resolve_sensor_def("record_corpus_status").default_status == dg.DefaultSensorStatus.RUNNING
    node = defs.resolve_asset_graph().get(KEY)
    assert (node.is_materializable, node.is_partitioned) == (False, False)
