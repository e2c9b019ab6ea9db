"""The three assets on a real instance, a real PostgreSQL and a real, if small, model."""

import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from ctranslate2.converters import TransformersConverter
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.partition_status_cache import AssetPartitionStatus
from psycopg import Connection
from transformers import T5ForConditionalGeneration

from sum_assets.backfill_time import FINISH_SECONDS, RANGE_SECONDS, START_SECONDS
from sum_assets.benchmark import compare_engine
from sum_assets.database.benchmark_results import GateVerdict
from sum_assets.database.device_losses import record_loss, require_not_quarantined, reset
from sum_assets.database.reconnect import Database
from sum_assets.database.run_rate import recent_rate
from sum_assets.database.verify import RangeState, verify_range
from sum_assets.defs.asset_names import CORPUS_ASSETS
from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import materialize, register_ranges
from sum_assets.defs.partitions import backfill_policy, id_ranges
from sum_assets.defs.ranges_per_run import usual_ranges_per_run
from sum_assets.defs.run_failures import STOPPED, failure_message, was_stopped
from sum_assets.defs.storage import SortedPartitionsStorage
from sum_assets.errors import EngineFaultError, UserError
from sum_assets.id_range import IdRange
from sum_assets.paths import models_dir
from sum_assets.pipeline import summarize_range
from sum_assets.range_report import RangeResult
from sum_assets.summarizer import GpuSettings, device_lease
from sum_assets.summarizer.engines.transformers_engine import TransformersGenerator
from sum_assets_tests.tiny_models import COPIED, sentence

FIRST, SECOND, THIRD = IdRange(1, 10), IdRange(11, 20), IdRange(21, 30)


@pytest.fixture
def corpus(database: Connection, instance: dg.DagsterInstance) -> Connection:
    """Thirty sentences in a table of the user's own, ten to a range."""
    database.execute("CREATE TABLE public.article (id bigint PRIMARY KEY, body text)")
    with database.cursor() as cursor:
        cursor.executemany("INSERT INTO article VALUES (%s, %s)", [(i, sentence(i, 5 + i % 9)) for i in range(1, 31)])
    database.execute(
        "CREATE OR REPLACE VIEW sum_assets.source_abstract AS SELECT id AS abstract_id, body AS abstract FROM article"
    )
    register_ranges(instance, [FIRST, SECOND, THIRD])
    return database


@pytest.fixture
def config(t5: Path) -> dict[str, Any]:
    summarizer = {"model": str(t5), "prompt": "", "max_input_tokens": 32, "max_output_tokens": 16}
    return {
        "resources": {
            "summarizer": {"config": summarizer},
            "gpu": {"config": {"device": "cpu", "precision": "float32", "batch_size": 4}},
        }
    }


def with_op(config: dict[str, Any], **values: object) -> dict[str, Any]:
    return config | {"ops": {"summaries": {"config": values}}}


def run_asset(
    instance: dg.DagsterInstance, asset: str, id_range: IdRange, config: dict[str, Any]
) -> dg.ExecuteInProcessResult:
    """Run one asset through Dagster's own asset job, as the UI's Materialize button does."""
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        config,
        instance=instance,
        asset_selection=[dg.AssetKey(asset)],
        partition_key=id_range.key,
        raise_on_error=False,
    )


def metadata(instance: dg.DagsterInstance, asset: str, id_range: IdRange) -> dict[str, Any]:
    filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[id_range.key])
    found = instance.fetch_materializations(filters, limit=1).records[0].asset_materialization
    assert found is not None
    return {name: value.value for name, value in found.metadata.items()}


def check(instance: dg.DagsterInstance, run_id: str, name: str) -> dg.AssetCheckEvaluation:
    """Return what a run logged of a check, the newest."""
    logged = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [entry.asset_check_evaluation for entry in logged]
    return [one for one in checks if one and one.check_name == name][-1]


def published(corpus: Connection) -> dict[int, str]:
    return dict(corpus.execute("SELECT abstract_id, summary FROM sum_assets.abstract_summary").fetchall())


def writers(corpus: Connection) -> dict[int, str]:
    return dict(corpus.execute("SELECT abstract_id, run_id FROM sum_assets.generated_summary").fetchall())


def copied(i: int) -> str:
    return " ".join(sentence(i, 5 + i % 9).split()[:COPIED])


def whole(state: RangeState) -> bool:
    return state.sound and state.complete and state.published + state.rejected == state.source


def test_a_range_goes_from_source_to_published(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    result = materialize(instance, FIRST.key, None, config)
    assert result.success
    assert published(corpus) == {i: copied(i) for i in range(1, 11)}
    assert whole(verify_range(corpus, FIRST))
    found = metadata(instance, "summaries", FIRST)
    run = instance.get_run_by_id(result.run_id)
    assert run
    tags = {name.partition("/")[2]: value for name, value in run.tags.items() if name.startswith("sum-assets/")}
    assert tags.pop("model") == config["resources"]["summarizer"]["config"]["model"]
    assert tags == {
        "engine": "transformers", "precision": "float32", "quantization": "none", "fingerprint": found["fingerprint"],
    }  # fmt: skip
    assert found["summarized"] == found["dagster/partition_row_count"] == 10
    assert found["abstracts_per_second"] > 0
    assert found["generated_tokens_per_second"] > 0
    assert 0 < found["share_of_limit"] < 1
    assert found["limit"].endswith("overhead binds")
    assert "share of the limit: " in found["overview"]
    assert found["output_tokens"] == 10 * (COPIED + 1)
    assert found["batch_size"] == 4
    assert found["seconds_per_abstract_p50"] <= found["seconds_per_abstract_p95"]
    phases = ("load_model", "read", "tokenize", "generate", "detokenize", "write", "other")
    assert sum(found[f"seconds_{phase}"] for phase in phases) == pytest.approx(found["seconds_total"], rel=0.01)
    beside = {row.data["phase"]: row.data["seconds_beside"] for row in found["phases"].records}
    assert {"write"} <= {phase for phase, seconds in beside.items() if seconds} <= {"read", "write"}
    assert found["days_for_3_68_million"] > found["days_for_this_corpus"] > 0
    assert found["settings"]["precision"] == "float32"
    assert found["settings"]["model_revision"].startswith("sha256:")
    assert "10 abstracts summarized" in found["overview"]
    assert "at this rate, with 3 ranges in a run:" in found["overview"]
    overhead = START_SECONDS + found["seconds_load_model"] + FINISH_SECONDS
    assert found["seconds_run_overhead"] == pytest.approx(overhead, rel=0.01)
    assert found["days_for_this_corpus"] * 86400 >= overhead + 3 * RANGE_SECONDS
    assert len(found["examples"].records if hasattr(found["examples"], "records") else found["examples"]) == 3
    assert metadata(instance, "abstracts", FIRST)["characters_p50"] > 0
    assert metadata(instance, "summary_table", FIRST)["fingerprint"] == found["fingerprint"]
    gate = check(instance, result.run_id, "gate")
    assert gate.passed
    assert (gate.description or "").startswith("passes: 8 of 8 texts are those of transformers' own")


def test_a_run_waits_for_its_device_and_says_what_each_worker_did(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ExitStack()
    other.enter_context(device_lease.device_lease(GpuSettings(device="cpu"), print))
    # It ends as soon as somebody waits for it.
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: other.close())
    monkeypatch.setattr(device_lease, "time", clock)
    config["resources"]["gpu"]["config"]["workers_per_device"] = 2
    result = materialize(instance, FIRST.key, None, config)
    assert result.success
    logged = " ".join(entry.user_message for entry in instance.all_logs(result.run_id))
    assert "waiting for cpu, in use by process" in logged
    assert published(corpus) == {i: copied(i) for i in range(1, 11)}
    found = metadata(instance, "summaries", FIRST)
    assert [worker.data["worker"] for worker in found["workers"].records] == ["worker 1 on cpu", "worker 2 on cpu"]
    assert sum(worker.data["rows"] for worker in found["workers"].records) == 10
    assert 0 < found["workers_busy"] <= 1
    assert found["workers_quarantined"] == 0
    assert "worker 1 on cpu" in found["overview"]


def test_a_run_that_would_take_other_ranges_than_those_between_two_is_refused(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = materialize(instance, THIRD.key, FIRST.key, config)
    assert (result.success, "is above the last" in failure_message(result)) == (False, True)
    # A storage that returns ranges as they were registered, as Dagster's own ones do.
    monkeypatch.setattr(
        SortedPartitionsStorage, "get_dynamic_partitions", lambda *_: [SECOND.key, FIRST.key, THIRD.key]
    )
    result = materialize(instance, FIRST.key, THIRD.key, config)
    assert not result.success
    assert "were not registered in the order of their IDs" in failure_message(result)
    assert published(corpus) == {}


def test_a_range_run_has_metadata_for_each_partition(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    assert materialize(instance, FIRST.key, THIRD.key, config).success
    assert published(corpus) == {i: copied(i) for i in range(1, 31)}
    for id_range in (FIRST, SECOND, THIRD):
        assert metadata(instance, "summaries", id_range)["summarized"] == 10
        assert metadata(instance, "summary_table", id_range)["dagster/partition_row_count"] == 10
    loads = [metadata(instance, "summaries", r)["seconds_load_model"] for r in (FIRST, SECOND, THIRD)]
    assert loads[1] < loads[0] / 2, "the model is loaded once"


def test_a_repeated_run_does_only_what_is_missing(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    pilot = run_asset(instance, "summaries", FIRST, with_op(config, limit=3))
    assert pilot.success
    first = writers(corpus)
    assert len(first) == 3
    rest = run_asset(instance, "summaries", FIRST, config)
    assert metadata(instance, "summaries", FIRST)["summarized"] == 7
    assert {i for i, run in writers(corpus).items() if run == rest.run_id} == set(range(1, 11)) - set(first)
    assert run_asset(instance, "summaries", FIRST, config).success
    found = metadata(instance, "summaries", FIRST)
    assert (found["summarized"], found["pending"], found["dagster/partition_row_count"]) == (0, 0, 10)
    assert not {"abstracts_per_second", "days_for_3_68_million", "seconds_per_abstract_p50"} & set(found)
    assert "Nothing to do" in found["overview"]
    again = run_asset(instance, "summaries", FIRST, with_op(config, overwrite=True))
    assert set(writers(corpus).values()) == {again.run_id}


def test_a_pilot_displaces_nothing(corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]) -> None:
    assert materialize(instance, FIRST.key, None, config).success
    made = metadata(instance, "summaries", FIRST)["fingerprint"]
    rate = recent_rate(corpus)
    config["resources"]["summarizer"]["config"]["max_output_tokens"] = 2
    pilot = materialize(instance, FIRST.key, SECOND.key, with_op(config, limit=3))
    assert pilot.success
    seen = [event.asset_observation_data.asset_observation for event in pilot.get_asset_observation_events()]
    ended = [one for one in seen if "examples" in one.metadata]
    assert [(one.partition, one.metadata["summarized"].value) for one in ended] == [(FIRST.key, 3), (SECOND.key, 3)]
    assert metadata(instance, "summaries", FIRST)["fingerprint"] == made
    assert recent_rate(corpus) == rate, "nor does it forecast the full run"
    assert instance.get_materialized_partitions(dg.AssetKey("summaries")) == {FIRST.key}, "the second is still to do"
    assert whole(verify_range(corpus, FIRST))
    assert run_asset(instance, "summary_table", FIRST, {}).success, "under the fingerprint of the full run"
    assert published(corpus) == {i: copied(i) for i in range(1, 11)}
    result = run_asset(instance, "summary_table", FIRST, with_op({}, limit=3))
    assert "`limit` makes a pilot of `summaries`" in failure_message(result)


def test_the_job_pilot_has_a_limit_of_its_own(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    corpus.execute("INSERT INTO article SELECT i, 'A text. And more.' FROM generate_series(31, 80) AS i")
    wide = IdRange(31, 80)
    register_ranges(instance, [wide])
    job = defs.resolve_job_def("pilot")
    lead = with_gpu(config, engine="lead")
    for run_config, done in ((lead, 32), (with_op(lead, limit=33), 33)):
        assert job.execute_in_process(run_config, instance=instance, partition_key=wide.key).success
        assert len(writers(corpus)) == done
    assert published(corpus) == {}


def test_edited_added_and_deleted_abstracts_and_no_others_are_done_again(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    assert materialize(instance, FIRST.key, None, config).success
    before = writers(corpus)
    corpus.execute("UPDATE article SET body = %s WHERE id = 3", [sentence(99, 9)])
    corpus.execute("DELETE FROM article WHERE id IN (4, 5)")
    corpus.execute("INSERT INTO article VALUES (5, %s)", [sentence(98, 9)])
    state = verify_range(corpus, FIRST)
    assert (state.stale, state.orphans, state.sound) == (2, 1, False)
    assert materialize(instance, FIRST.key, None, config).success
    expected = {i: copied(i) for i in range(1, 11) if i != 4}
    expected |= {3: " ".join(sentence(99, 9).split()[:COPIED]), 5: " ".join(sentence(98, 9).split()[:COPIED])}
    assert published(corpus) == expected
    after = writers(corpus)
    assert {i for i in before if after[i] != before[i]} == {3, 5}
    assert whole(verify_range(corpus, FIRST))


def test_rows_without_text_are_rejected_until_they_have_one(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    for i, text in ((1, None), (2, ""), (3, " \n\t\u2003")):
        corpus.execute("UPDATE article SET body = %s WHERE id = %s", [text, i])
    assert materialize(instance, FIRST.key, None, config).success
    reasons = "SELECT abstract_id, reason FROM sum_assets.rejected_abstract ORDER BY 1"
    assert corpus.execute(reasons).fetchall() == [(1, "null"), (2, "empty"), (3, "blank")]
    assert metadata(instance, "summaries", FIRST)["rejected_by_reason"] == {"null": 1, "empty": 1, "blank": 1}
    assert "this corpus         21 " in metadata(instance, "summaries", FIRST)["overview"], (
        "seven in ten rows have a text"
    )
    state = verify_range(corpus, FIRST)
    assert (state.published, state.rejected, state.sound) == (7, 3, True)
    corpus.execute("UPDATE article SET body = %s WHERE id = 2", [sentence(2, 7)])
    corpus.execute("UPDATE article SET body = '' WHERE id = 9")
    assert materialize(instance, FIRST.key, None, config).success
    assert corpus.execute(reasons).fetchall() == [(1, "null"), (3, "blank"), (9, "empty")]
    assert 2 in published(corpus)
    assert 9 not in published(corpus)
    assert whole(verify_range(corpus, FIRST))


def test_a_published_range_holds_one_fingerprint_of_ones_choice(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    assert materialize(instance, FIRST.key, None, config).success
    old = metadata(instance, "summaries", FIRST)["fingerprint"]
    config["resources"]["summarizer"]["config"]["max_output_tokens"] = 2
    assert materialize(instance, FIRST.key, None, config).success
    new = metadata(instance, "summaries", FIRST)["fingerprint"]
    assert new != old
    assert published(corpus)[1] == " ".join(copied(1).split()[:2])
    assert metadata(instance, "summaries", FIRST)["capped_outputs"] == 10
    assert run_asset(instance, "summary_table", FIRST, with_op({}, fingerprint=old)).success
    assert published(corpus)[1] == copied(1)
    assert corpus.execute("SELECT DISTINCT fingerprint FROM sum_assets.abstract_summary").fetchall() == [(old,)]


def test_the_data_version_follows_the_content(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    def version(result: dg.ExecuteInProcessResult) -> str:
        (event,) = result.get_asset_materialization_events()
        return (event.materialization.tags or {})["dagster/data_version"]

    first, second = (version(run_asset(instance, "abstracts", FIRST, {})) for _ in range(2))
    corpus.execute("UPDATE article SET body = body || ' bale' WHERE id = 1")
    third = version(run_asset(instance, "abstracts", FIRST, {}))
    assert first == second != third


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resources": {"gppu": {"config": {}}}}, "unknown key 'gppu' under 'resources'. Did you mean 'gpu'?"),
        ({"ops": {"sumaries": {"config": {}}}}, "unknown key 'sumaries' under 'ops'. Did you mean 'summaries'?"),
        (
            {"resources": {"gpu": {"config": {"device": "cpu", "precision": "float16"}}}},
            "Set float32 or auto",
        ),
        ({"resources": {"summarizer": {"config": {"model": "/nowhere"}}}}, "there is no folder /nowhere"),
    ],
)
def test_bad_configuration_fails_before_anything_is_written(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    merged = {"resources": config["resources"] | change.get("resources", {}), "ops": change.get("ops", {})}
    result = run_asset(instance, "summaries", FIRST, merged)
    assert not result.success
    assert message in failure_message(result)
    assert writers(corpus) == {}


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("gpu", "batch_size", 0, "batch_size is at least 1, not 0"),
        ("gpu", "engine_options", {"beams": 1}, "engine_options: engine transformers has no beams; it has none"),
        ("gpu", "device", "gpu", "device is auto, cpu, cuda, cuda:N or mps, not 'gpu'"),
        ("summarizer", "max_output_tokens", -5, "a limit is at least 1, not -5"),
    ],
)
def test_a_value_that_is_not_valid_is_refused_before_there_is_a_run(
    corpus: Connection,
    instance: dg.DagsterInstance,
    config: dict[str, Any],
    section: str,
    name: str,
    value: object,
    message: str,
) -> None:
    config["resources"][section]["config"][name] = value
    with pytest.raises(UserError) as refused:
        materialize(instance, FIRST.key, None, config)
    assert str(refused.value).startswith(message)
    with pytest.raises(dg.DagsterInvalidConfigError) as launched:
        run_asset(instance, "summaries", FIRST, config)
    assert str(launched.value).startswith(message)
    assert instance.get_runs() == []


def test_a_launch_cannot_change_the_executor() -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    dg.validate_run_config(job, {"execution": {"config": {}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "max_concurrent"'):
        dg.validate_run_config(job, {"execution": {"config": {"max_concurrent": 4}}})


def test_a_range_whose_rows_vanished_is_withdrawn_and_its_neighbours_are_done(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    assert materialize(instance, FIRST.key, SECOND.key, config).success
    corpus.execute("DELETE FROM article WHERE id BETWEEN 1 AND 10")
    never = IdRange(31, 40)
    register_ranges(instance, [never])
    result = materialize(instance, FIRST.key, never.key, config)
    assert result.success
    assert published(corpus) == {i: copied(i) for i in range(11, 31)}
    assert metadata(instance, "summary_table", FIRST)["withdrawn"] == 10
    assert metadata(instance, "abstracts", FIRST)["dagster/partition_row_count"] == 0
    logged = " ".join(entry.user_message for entry in instance.all_logs(result.run_id))
    assert f"The range {FIRST.key} has no abstracts in the source" in logged
    assert all(verify_range(corpus, r).sound for r in (FIRST, SECOND, THIRD, never))
    assert materialize(instance, FIRST.key, never.key, config).success, "and again"
    corpus.execute("TRUNCATE article")
    assert run_asset(instance, "summary_table", THIRD, {}).success, "without a model"
    assert set(published(corpus)) == set(range(11, 21))


def test_a_range_that_fails_does_not_take_its_neighbours_along(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    config = with_gpu(config, engine="lead")
    corpus.execute("ALTER TABLE article DROP CONSTRAINT article_pkey")
    corpus.execute("INSERT INTO article SELECT * FROM article WHERE id = 13")
    result = materialize(instance, FIRST.key, THIRD.key, config)
    assert not result.success
    message = failure_message(result)
    assert message.startswith("1 of 3 ID ranges failed. The others are done.\n")
    assert f"{SECOND.key}: 1 abstract of {SECOND.key} is listed twice by source_abstract, the first 13." in message
    events = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [event.get_dagster_event().asset_check_evaluation_data for event in events]
    (red,) = (check.description for check in checks if check.check_name == "whole" and not check.passed)
    assert "1 listed twice, 10 not published as generated. Make `source_abstract` list every ID once" in (red or "")
    assert set(published(corpus)) == {*range(1, 11), *range(21, 31)}
    keys = [id_range.key for id_range in (FIRST, SECOND, THIRD)]
    status = instance.get_status_by_partition(dg.AssetKey("summary_table"), keys, id_ranges)
    assert status is not None
    materialized, failed = AssetPartitionStatus.MATERIALIZED, AssetPartitionStatus.FAILED
    assert [status[key] for key in keys] == [materialized, failed, materialized]


def test_a_step_that_is_tried_again_goes_on_with_the_next_range(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def fail_once(database: Database, id_range: IdRange, *arguments: Any, **options: Any) -> RangeResult:
        tries.append(id_range.lo)
        if tries == [1, 11]:
            raise EngineFaultError("The engine is gone.")
        return summarize_range(database, id_range, *arguments, **options)

    monkeypatch.setattr(sys.modules["sum_assets.defs.assets.corpus"], "summarize_range", fail_once)
    result = materialize(instance, FIRST.key, THIRD.key, with_gpu(config, engine="lead"))
    assert result.success
    assert tries == [1, 11, 11, 21]
    events = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    found = [event.asset_materialization for event in events]
    materialized = [(m.asset_key, m.partition) for m in found if m and m.asset_key != dg.AssetKey("abstracts")]
    assert len(materialized) == len(set(materialized)) == 6
    assert set(published(corpus)) == set(range(1, 31))


def test_runs_of_a_backfill_take_as_many_ranges_as_fill_some_minutes(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert usual_ranges_per_run(instance, 3000, 10, 1) == 1, "nothing was measured"
    assert materialize(instance, THIRD.key, None, with_op(with_gpu(config, engine="lead"), limit=5)).success
    assert usual_ranges_per_run(instance, 10**9, 10, 1) > 1, "a pilot tells the rate, where nothing else does"
    assert materialize(instance, FIRST.key, None, with_gpu(config, engine="lead")).success
    found = metadata(instance, "summaries", FIRST)
    each = (found["seconds_total"] - found["seconds_load_model"]) / 10
    assert usual_ranges_per_run(instance, 10**9, 10, 1) == pytest.approx(300 / (10 * each), rel=0.02)
    assert usual_ranges_per_run(instance, 10, 10, 4) == 3, "all devices have work"
    assert usual_ranges_per_run(instance, 10, 10**9, 1) == 1
    for value, policy in (("1", None), ("7", dg.BackfillPolicy.multi_run(7))):
        monkeypatch.setenv("SUM_ASSETS_RANGES_PER_RUN", value)
        assert backfill_policy() == policy
    for value in ("0", "-1", "ten", ""):
        monkeypatch.setenv("SUM_ASSETS_RANGES_PER_RUN", value)
        with pytest.raises(UserError, match="Set it to a number of ID ranges, 1 or more"):
            backfill_policy()


def test_a_range_becomes_stale_by_itself(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    config = with_gpu(config, engine="lead")

    def stale() -> list[str]:
        resolver = CachingStaleStatusResolver(instance, defs.resolve_asset_graph(), LoadingContextForTest(instance))
        return [
            f"{asset} {id_range.lo}"
            for id_range in (FIRST, SECOND)
            for asset in CORPUS_ASSETS
            if resolver.get_status(dg.AssetKey(asset), id_range.key).value == "STALE"
        ]

    assert materialize(instance, FIRST.key, SECOND.key, config).success
    assert stale() == []
    corpus.execute("UPDATE article SET body = body || ' bale' WHERE id = 12")
    assert materialize(instance, FIRST.key, SECOND.key, config, ["abstracts"]).success
    assert stale() == ["summaries 11"]
    assert materialize(instance, SECOND.key, None, config).success
    assert stale() == []


def test_a_run_publishes_what_it_made_itself_whoever_made_more_since(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    lead = {"resources": {"gpu": {"config": {"engine": "lead"}}}}
    own = materialize(instance, FIRST.key, None, lead, select=["abstracts", "summaries"])
    made = metadata(instance, "summaries", FIRST)["fingerprint"]
    other = run_asset(instance, "summaries", FIRST, config)
    newest = metadata(instance, "summaries", FIRST)["fingerprint"]
    assert newest != made
    corpus.execute("DELETE FROM sum_assets.generated_summary WHERE fingerprint = %s AND abstract_id > 3", [newest])
    result = run_asset(instance, "summary_table", FIRST, {})
    assert "is not whole under fingerprint" in failure_message(result), "the newest, where a run has none of its own"
    job = defs.resolve_implicit_global_asset_job_def()
    for tags, whole_range in (
        ({"dagster/parent_run_id": own.run_id, "dagster/root_run_id": own.run_id}, True),
        ({"dagster/parent_run_id": other.run_id, "dagster/root_run_id": other.run_id}, False),
    ):
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("summary_table")],
            partition_key=FIRST.key,
            tags=tags,
            raise_on_error=False,
        )
        assert result.success == whole_range
    assert metadata(instance, "summary_table", FIRST)["fingerprint"] == made
    assert len(published(corpus)) == 10


def test_a_range_never_made_and_a_missing_schema_are_named(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    result = run_asset(instance, "summary_table", FIRST, {})
    assert "was never materialized. Materialize it, then publish" in failure_message(result)
    corpus.execute("DROP SCHEMA sum_assets CASCADE")
    result = run_asset(instance, "abstracts", FIRST, {})
    assert "has no schema sum_assets. Run `sum-assets init`" in failure_message(result)


def test_ranges_that_overlap_are_refused_when_they_are_run(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    # As in the storage of a user's own, where anything can be added in the UI.
    corpus.execute(
        "INSERT INTO dagster.dynamic_partitions (partitions_def_name, partition) "
        "VALUES ('id_range', 'foo'), ('id_range', '0000000005-0000000010')"
    )
    result = materialize(instance, FIRST.key, None, config)
    assert f"The ID ranges {FIRST.key} and 0000000005-0000000010 overlap" in failure_message(result)
    assert published(corpus) == {}
    assert materialize(instance, SECOND.key, None, with_gpu(config, engine="lead")).success


def test_a_key_that_is_no_range_is_named(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    corpus.execute(
        "INSERT INTO dagster.dynamic_partitions (partitions_def_name, partition) VALUES ('id_range', 'everything')"
    )
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("abstracts")], partition_key="everything", raise_on_error=False
    )
    assert "'everything' is not a valid ID range" in failure_message(result)


def with_gpu(config: dict[str, Any], **values: object) -> dict[str, Any]:
    resources = config["resources"]
    return {"resources": resources | {"gpu": {"config": resources["gpu"]["config"] | values}}}


def verdicts(corpus: Connection) -> list[tuple[str, bool]]:
    query = "SELECT engine, passes FROM sum_assets.engine_gate ORDER BY judged_at"
    return [(row[0], row[1]) for row in corpus.execute(query)]


def test_an_engine_that_converts_is_judged_once_and_then_runs(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_year, judge = 3e7, compare_engine.judge
    judged: list[GateVerdict | None] = []
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + a_year * len(judged))
    monkeypatch.setattr("sum_assets.summarizer.phases.time", clock)

    def judge_for_a_year(*arguments: Any) -> GateVerdict | None:
        judged.append(judge(*arguments))
        return judged[-1]

    monkeypatch.setattr(compare_engine, "judge", judge_for_a_year)
    converting = with_gpu(config, engine="ctranslate2")
    for id_range in (FIRST, SECOND):
        assert materialize(instance, id_range.key, None, converting).success
        assert metadata(instance, "summaries", id_range)["seconds_total"] < a_year, "judging is no part of its time"
    assert len(judged) == 1
    assert verdicts(corpus) == [("ctranslate2", True)]
    assert published(corpus) == {i: copied(i) for i in range(1, 21)}
    assert metadata(instance, "summaries", SECOND)["settings"]["engine"] == "ctranslate2"


def test_a_signal_while_an_engine_is_judged_ends_the_run(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []

    def stop(*_: object) -> None:
        signals.append(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(compare_engine, "plain_generate", stop)
    result = materialize(instance, FIRST.key, None, config)
    assert (failure_message(result), was_stopped(result)) == (STOPPED, True)
    assert len(signals) == 1, "the step was not repeated"


def test_a_wrong_conversion_makes_a_pilot_but_no_full_run(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], t5: Path, tmp_path: Path
) -> None:
    # A model with its heads in another order, in the place of the right one's conversion.
    folder = shutil.copytree(t5, tmp_path / "wrong")
    model = T5ForConditionalGeneration.from_pretrained(folder)
    for name, weights in model.named_parameters():
        if name.endswith("Attention.q.weight"):
            weights.data = weights.data.roll(16, dims=0)
    model.save_pretrained(folder)
    converting = with_gpu(config, engine="ctranslate2", quantization="int8")
    assert materialize(instance, FIRST.key, None, with_op(converting, limit=2), ["summaries"]).success
    (right,) = (path for path in models_dir().glob("t5*-ctranslate2-*") if path.is_dir())
    TransformersConverter(str(folder)).convert(str(right), force=True)
    try:
        result = materialize(instance, FIRST.key, None, converting)
        assert not result.success
        assert "engine ctranslate2 fails the quality gate against transformers in float32" in failure_message(result)
        assert verdicts(corpus) == [("ctranslate2", False)]
        assert len(writers(corpus)) == 2
        gate = check(instance, result.run_id, "gate")
        assert (gate.passed, gate.partition, gate.description) == (False, FIRST.key, failure_message(result))
    finally:
        shutil.rmtree(right)


def test_a_device_that_is_lost_three_times_is_quarantined_until_it_is_reset(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patch:
        patch.setattr(TransformersGenerator, "_generate", lose)
        for _ in range(2):
            record_loss(corpus, "cpu", "gone", "earlier")
        result = materialize(instance, FIRST.key, None, config, ["summaries"])
    assert not result.success
    said = failure_message(result)
    assert "The device cpu of" in said
    assert (
        "was lost 3 times within an hour and is quarantined: The device is lost to this process: RuntimeError" in said
    )
    corpus.execute("UPDATE sum_assets.device_loss SET lost_at = lost_at - interval '1 hour' WHERE message = 'gone'")
    require_not_quarantined(corpus, "cpu")
    corpus.execute("UPDATE sum_assets.device_loss SET lost_at = clock_timestamp()")
    with pytest.raises(UserError, match="`sum-assets devices reset`"):
        require_not_quarantined(corpus, "cpu")
    assert reset(corpus) == ["cpu"]
    assert materialize(instance, FIRST.key, None, config).success


_COUNTED_HASH = """
CREATE SEQUENCE public.hashes MINVALUE 0;
CREATE OR REPLACE FUNCTION sum_assets.source_hash(abstract text) RETURNS bytea LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM nextval('public.hashes');
    RETURN substr(sha256(convert_to(coalesce(abstract, ''), 'UTF8')), 1, 16);
END $$
"""


def test_an_abstract_is_hashed_once_when_read_and_once_when_verified(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    config = with_gpu(config, engine="lead")
    # Listing what is pending hashes only what has a result: nothing of a first run, all of a repeated one.
    for assets, hashes in ((["abstracts"], 10), (["summaries"], 20), (["summary_table"], 10), (["summaries"], 20)):
        corpus.execute("DROP SEQUENCE IF EXISTS public.hashes")
        corpus.execute(_COUNTED_HASH.encode())
        assert materialize(instance, FIRST.key, None, config, assets).success
        assert corpus.execute("SELECT nextval('public.hashes')").fetchone() == (hashes,)


def test_the_lead_needs_no_model_and_no_judge(
    corpus: Connection, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    assert materialize(instance, FIRST.key, None, with_gpu(config, engine="lead")).success
    assert published(corpus) == {i: sentence(i, 5 + i % 9) for i in range(1, 11)}
    assert verdicts(corpus) == []
