"""Another fingerprint beside the published one, and the change of what readers see, there and back."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import get_input_event_pointer_tag
from dagster._core.event_api import PartitionKeyFilter
from psycopg import Connection

from sum_assets.database.connection import connect
from sum_assets.database.publish import publish_all
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.defs import switch
from sum_assets.defs.asset_names import CORPUS_OP, SUMMARIES, SUMMARY_TABLE
from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import register_ranges
from sum_assets.id_range import IdRange

Run = Callable[..., tuple[int, str, str]]
RANGES = [IdRange(1, 4), IdRange(5, 8), IdRange(9, 12)]
PUBLISHED = "SELECT abstract_id, summary, fingerprint, run_id FROM sum_assets.abstract_summary ORDER BY 1"


@pytest.fixture
def old_and_new(instance: dg.DagsterInstance, database: Connection, run: Run, tmp_path: Path) -> tuple[str, str]:
    """Three ranges that are published under one fingerprint, and generated under another, which rejects one."""
    register_ranges(instance, RANGES)
    for i in range(1, 10):
        text = f"First of {i}. Second of {i}. Third of {i}. Fourth of {i}."
        database.execute("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)", [i, text])
    config = tmp_path / "run.yaml"
    config.write_text("resources: {gpu: {config: {engine: lead}}}")
    assert run("materialize", RANGES[0].key, RANGES[-1].key, "-c", config)[0] == 0
    (old,) = database.execute("SELECT fingerprint FROM sum_assets.summarizer_config").fetchone() or ("",)
    new = "beef" * 4
    database.execute("INSERT INTO sum_assets.summarizer_config VALUES (%s, '{}')", [new])
    database.execute("CREATE TEMPORARY TABLE other AS TABLE sum_assets.generated_summary")
    database.execute("UPDATE other SET fingerprint = %s, summary = 'Other.', run_id = 'other'", [new])
    database.execute("INSERT INTO sum_assets.generated_summary SELECT * FROM other WHERE abstract_id <> 2")
    database.execute(
        "INSERT INTO sum_assets.rejected_abstract "
        "SELECT fingerprint, abstract_id, source_hash, 'null', '', run_id FROM other WHERE abstract_id = 2"
    )
    return old, new


def rows(database: Connection) -> list[tuple[object, ...]]:
    return database.execute(PUBLISHED.encode()).fetchall()


def test_a_switch_and_back(
    run: Run, database: Connection, instance: dg.DagsterInstance, old_and_new: tuple[str, str]
) -> None:
    old, new = old_and_new
    before = rows(database)
    assert (len(before), {row[2] for row in before}) == (9, {old})
    code, out, err = run("publish", new[:4], "--yes")
    assert (code, out) == (0, f"3 ID ranges published under {new}: 8 summaries written, 1 withdrawn\n"), err
    after = rows(database)
    assert (len(after), {row[2] for row in after}) == (8, {new})
    assert run("verify")[0] == 0
    assert "uncounted" not in run("status")[1]
    table = dg.AssetKey(SUMMARY_TABLE)
    for id_range in RANGES:
        record = instance.get_latest_data_version_record(table, partition_key=id_range.key)
        materialization = record and record.asset_materialization
        assert materialization
        assert materialization.metadata["fingerprint"].value == new
        assert (materialization.tags or {})["dagster/data_version"].startswith(f"{new}-")
    code, out, err = run("publish", new, "--yes")
    assert (code, out) == (0, f"3 ID ranges published under {new}: 0 summaries written, 0 withdrawn\n"), err
    assert run("publish", old, "--yes")[0] == 0
    assert rows(database) == before
    record = instance.get_latest_data_version_record(table, partition_key=RANGES[0].key)
    summaries = instance.get_latest_data_version_record(dg.AssetKey(SUMMARIES), partition_key=RANGES[0].key)
    assert record
    assert summaries
    assert record.asset_materialization
    pointer = (record.asset_materialization.tags or {})[get_input_event_pointer_tag(dg.AssetKey(SUMMARIES))]
    assert pointer == str(summaries.storage_id), "made from the summaries of this fingerprint"
    assert run("verify")[0] == 0


def checks(instance: dg.DagsterInstance, id_range: IdRange) -> dict[str, tuple[object, ...]]:
    """Return what the newest checks of a range's table say, and that they are of its newest materialization."""
    of_range = PartitionKeyFilter(key=id_range.key)
    table = instance.get_latest_data_version_record(dg.AssetKey(SUMMARY_TABLE), partition_key=id_range.key)
    found: dict[str, tuple[object, ...]] = {}
    for name in ("whole", "nothing_stale", "nothing_orphaned"):
        key = dg.AssetCheckKey(dg.AssetKey(SUMMARY_TABLE), name)
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, 1, partition_filter=of_range)
        assert record.event
        event = record.event.get_dagster_event().event_specific_data
        assert isinstance(event, dg.AssetCheckEvaluation)
        target = event.target_materialization_data
        is_newest = bool(table and target and target.storage_id == table.storage_id)
        found[name] = event.passed, event.description, event.metadata, event.severity, event.blocking, is_newest
    return found


def test_the_command_leaves_the_checks_that_the_job_leaves(
    run: Run, instance: dg.DagsterInstance, old_and_new: tuple[str, str]
) -> None:
    _, new = old_and_new
    assert run("publish", new, "--yes")[0] == 0
    by_command = [checks(instance, id_range) for id_range in RANGES]
    assert by_command[0]["whole"][:2] == (True, "Of 4 abstracts: 3 published, 1 rejected.")
    job = defs.resolve_job_def("publish_summaries")
    config = {"ops": {CORPUS_OP: {"config": {"fingerprint": new}}}}
    for id_range in RANGES:
        assert job.execute_in_process(config, instance=instance, partition_key=id_range.key).success
    assert [checks(instance, id_range) for id_range in RANGES] == by_command
    assert all(check[-1] for found in by_command for check in found.values())


def test_what_changes_meanwhile_is_said(
    run: Run, database: Connection, old_and_new: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, new = old_and_new
    log = switch.log_publications

    def edit(*arguments: Any) -> None:
        log(*arguments)
        database.execute("UPDATE sum_assets.corpus_abstract SET abstract = 'New.' WHERE abstract_id = 5")

    monkeypatch.setattr(switch, "log_publications", edit)
    code, _, err = run("publish", new, "--yes")
    said = " ".join(err.split())
    assert (code, "Not all of it is whole any more." in said, "4 published, 0 rejected, 1 to do" in said) == (
        0,
        True,
        True,
    )


def test_a_reader_sees_all_old_until_the_end_and_a_failure_leaves_it(
    database: Connection, old_and_new: tuple[str, str]
) -> None:
    old, new = old_and_new
    seen = []

    def progress(ranges: Sequence[IdRange]) -> Iterator[IdRange]:
        for id_range in ranges:
            yield id_range
            seen.append({row[2] for row in rows(database)})
        if len(seen) == len(RANGES):
            raise KeyboardInterrupt

    with connect() as writer:
        with pytest.raises(KeyboardInterrupt):
            publish_all(writer, RANGES, new, progress=progress)
        assert {row[2] for row in rows(database)} == {old}
        publish_all(writer, RANGES, new, progress=progress)
    assert seen == [{old}] * 6
    assert {row[2] for row in rows(database)} == {new}


def test_what_is_not_whole_is_refused(
    run: Run, database: Connection, instance: dg.DagsterInstance, old_and_new: tuple[str, str]
) -> None:
    old, new = old_and_new
    before = rows(database)

    def refused(fingerprint: str, message: str) -> None:
        code, _, err = run("publish", fingerprint, "--yes")
        assert (code, message in " ".join(err.split())) == (1, True), err
        assert rows(database) == before

    refused("no-such", "There is no fingerprint 'no-such'. Known: ")
    refused("", "Several fingerprints begin with ''")
    with open_database() as other, range_lease(other, RANGES[1], "a-run"):
        refused(new, "is being worked on by run a-run")
    unfinished = instance.create_run_for_job(defs.resolve_job_def("summarize_corpus"))
    refused(new, f"The run {unfinished.run_id} is not finished, and would publish summaries of its own")
    instance.delete_run(unfinished.run_id)
    pilot = instance.create_run_for_job(defs.resolve_job_def("pilot"))
    database.execute("UPDATE sum_assets.corpus_abstract SET abstract = 'New.' WHERE abstract_id IN (1, 5)")
    refused(new, f"2 ID ranges of 3 cannot be published under {new}")
    database.execute("DELETE FROM sum_assets.corpus_abstract WHERE abstract_id IN (1, 5)")
    register_ranges(instance, [IdRange(20, 24)])
    database.execute("INSERT INTO sum_assets.abstract_summary VALUES (30, 'x', '', %s, 'r')", [old])
    before = rows(database)
    refused(new, "1 published summary is in no ID range")
    database.execute("DELETE FROM sum_assets.abstract_summary WHERE abstract_id = 30")
    assert not pilot.is_finished
    assert run("publish", new, "--yes")[0] == 0, "what was deleted is withdrawn, and a pilot publishes nothing"
    assert {row[2] for row in rows(database)} == {new}
    assert {1, 2, 5}.isdisjoint(row[0] for row in rows(database))
