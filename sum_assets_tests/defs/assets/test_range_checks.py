"""The checks of ID ranges: green and red by partition, as `sum-assets verify` has it."""

import json
from collections.abc import Callable

import dagster as dg
from psycopg import Connection

from sum_assets.defs.asset_names import SUMMARIES, SUMMARY_TABLE
from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import materialize
from sum_assets.defs.run_failures import failure_message

OF_SUMMARIES = ("gate", "few_rejected", "few_truncated", "few_capped")
OF_TABLE = ("whole", "nothing_stale", "nothing_orphaned")
LEAD = {"resources": {"gpu": {"config": {"engine": "lead"}}}}

Run = Callable[..., tuple[int, str, str]]


def found(
    instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult
) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """Return by partition and name what a run logged, also one that failed."""
    logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [entry.asset_check_evaluation for entry in logged]
    return {(one.partition or "", one.check_name): one for one in checks if one}


def execute_all(instance: dg.DagsterInstance, asset: str) -> dg.ExecuteInProcessResult:
    """Check an asset as the UI's *Execute all* does: it names no partition, and makes nothing."""
    names = OF_TABLE if asset == SUMMARY_TABLE else OF_SUMMARIES
    checks = {dg.AssetCheckKey(dg.AssetKey(asset), name) for name in names}
    job = defs.resolve_implicit_global_asset_job_def()
    alone = job.get_subset(asset_selection=set(), asset_check_selection=checks)
    return alone.execute_in_process(instance=instance, raise_on_error=False)


def test_a_run_leaves_checks_for_each_of_its_ranges(keys: list[str], instance: dg.DagsterInstance) -> None:
    result = materialize(instance, keys[1], keys[2], LEAD)
    checks = found(instance, result)
    assert set(checks) == {(key, name) for key in keys[1:3] for name in (*OF_SUMMARIES, *OF_TABLE)}
    assert all(one.passed for one in checks.values())
    assert checks[keys[2], "whole"].description == "Of 10 abstracts: 10 published, 0 rejected."
    (table,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(SUMMARY_TABLE), asset_partitions=[keys[2]]), limit=1
    ).records
    target = checks[keys[2], "whole"].target_materialization_data
    assert target is not None
    assert target.storage_id == table.storage_id
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert not any("did not yield or return expected outputs" in line for line in logged)


def test_executing_all_checks_says_of_each_range_what_verify_says(
    keys: list[str], run: Run, instance: dg.DagsterInstance, database: Connection
) -> None:
    assert materialize(instance, keys[1], keys[2], LEAD).success
    assert execute_all(instance, SUMMARY_TABLE).success
    database.execute("UPDATE sum_assets.corpus_abstract SET abstract = 'Another.' WHERE abstract_id = 12")
    database.execute("DELETE FROM sum_assets.corpus_abstract WHERE abstract_id IN (24, 25)")
    result = execute_all(instance, SUMMARY_TABLE)
    checks = found(instance, result)
    assert {key for key, _ in checks} == set(keys[:3]), "nothing was made of the fourth"
    assert {key for key, one in checks.items() if not one.passed} == {
        (keys[1], "whole"),
        (keys[1], "nothing_stale"),
        (keys[2], "nothing_orphaned"),
    }
    exit_code, printed, _ = run("verify", "--range", keys[1], "--json")
    problem = json.loads(printed)["problems"][0]
    assert exit_code == 1
    assert checks[keys[1], "nothing_stale"].description == f"1 abstract has changed since. {problem['message']}"
    stale = checks[keys[1], "whole"]
    assert (stale.severity, stale.blocking) == (dg.AssetCheckSeverity.ERROR, True)
    assert stale.description == f"Of 10 abstracts: 10 published, 0 rejected, 1 to do. {problem['message']}"
    orphans = checks[keys[2], "nothing_orphaned"]
    assert orphans.metadata["orphans"].value == 2
    assert (orphans.description or "").startswith("2 published summaries have no abstract in the source. ")
    assert not result.success
    assert failure_message(result).startswith("2 of 3 ID ranges failed.")
    assert materialize(instance, keys[1], keys[2], LEAD).success
    assert execute_all(instance, SUMMARY_TABLE).success


def test_a_refused_publication_is_red(keys: list[str], instance: dg.DagsterInstance, database: Connection) -> None:
    database.execute("UPDATE sum_assets.corpus_abstract SET abstract = 'Another.' WHERE abstract_id = 2")
    result = materialize(instance, keys[0], None, {}, [SUMMARY_TABLE])
    checks = found(instance, result)
    assert not result.success
    assert {name for (_, name), one in checks.items() if not one.passed} == {"whole", "nothing_stale"}
    assert materialize(instance, keys[0], None, LEAD, [SUMMARIES]).success
    publish = defs.resolve_job_def("publish_summaries")
    assert found(instance, publish.execute_in_process(instance=instance, partition_key=keys[0]))[
        keys[0], "whole"
    ].passed


def test_shares_above_their_bound_warn_and_fail_no_run(
    keys: list[str], instance: dg.DagsterInstance, database: Connection
) -> None:
    database.execute("UPDATE sum_assets.corpus_abstract SET abstract = '' WHERE abstract_id = 2")
    database.execute(
        "UPDATE sum_assets.generated_summary SET input_truncated = abstract_id < 3, "
        "finish_reason = CASE WHEN abstract_id < 4 THEN 'length' ELSE 'stop' END"
    )
    result = materialize(instance, keys[0], None, LEAD)
    assert result.success
    checks = {name: one for (_, name), one in found(instance, result).items()}
    assert [checks[name].passed for name in OF_SUMMARIES] == [True, False, False, False]
    assert {checks[name].severity for name in OF_SUMMARIES[1:]} == {dg.AssetCheckSeverity.WARN}
    assert [checks[name].description for name in OF_SUMMARIES[1:]] == [
        "Of 10 abstracts, 1 is rejected (10.0%). The table sum_assets.rejected_abstract says why.",
        "Of 9 summaries, 1 is of a cut abstract (11.1%). A higher max_input_tokens reads more.",
        "Of 9 summaries, 2 are cut off (22.2%). A higher max_output_tokens lets them end.",
    ]
    again = found(instance, execute_all(instance, SUMMARIES))
    assert [again[keys[0], name].description for name in OF_SUMMARIES] == [
        checks[name].description for name in OF_SUMMARIES
    ]


def test_a_pilot_leaves_the_checks_of_its_range_alone(keys: list[str], instance: dg.DagsterInstance) -> None:
    job = defs.resolve_job_def("pilot")
    result = job.execute_in_process(LEAD, instance=instance, partition_key=keys[0])
    assert result.success
    assert found(instance, result) == {}
