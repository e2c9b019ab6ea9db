"""The benchmark assets on a real instance: presets as partitions, and a report of them."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.benchmark import build_report
from sum_assets.benchmark.quality_gate import Gate
from sum_assets.benchmark.run_sweep import registered_sweep
from sum_assets.benchmark.sweep import BASELINE, REFERENCE, Sweep
from sum_assets.database.benchmark_results import store_sweep
from sum_assets.defs.definitions import defs
from sum_assets.defs.run_failures import failure_message
from sum_assets.defs.sweep_registration import register_presets
from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.tiny_models import sentence


@pytest.fixture
def registered(database: Connection, instance: dg.DagsterInstance, t5: Path) -> Connection:
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)",
            [(i, sentence(i, 5 + i % 9)) for i in range(1, 41)],
        )
    sweep = Sweep.model_validate(
        {
            "sample": 8,
            "baseline_sample": 2,
            "replicates": 1,
            "price_per_hour": 100,
            "presets": {"not-here": {"device": "cuda:99"}, "batched": {"precision": "float32", "batch_size": 8}},
        }
    )
    summarizer = SummarizerSettings(model=str(t5), prompt="", max_input_tokens=32, max_output_tokens=16)
    store_sweep(database, sweep.model_dump(), summarizer.model_dump())
    register_presets(instance, list(sweep.all_presets()))
    return database


def run(instance: dg.DagsterInstance, asset: str, preset: str | None, config: dict[str, Any]) -> Any:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        config,
        instance=instance,
        asset_selection=[dg.AssetKey(asset)],
        partition_key=preset,
        raise_on_error=False,
    )


def metadata(result: Any) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def checks(instance: dg.DagsterInstance, result: Any) -> dict[str, tuple[bool, str]]:
    """Return what a run logged of each check, also one that failed."""
    logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.asset_check_evaluation for entry in logged]
    return {one.check_name: (one.passed, one.description or "") for one in found if one}


def test_presets_are_measured_and_reported(
    registered: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(instance, "benchmark_report", None, {})
    assert "Nothing of the registered sweep is measured yet" in failure_message(result)
    result = run(instance, "benchmark", "batched", {"resources": {"gpu": {"config": {"batch_size": 2}}}})
    assert "A preset takes its settings from the sweep alone. Remove 'gpu' from" in failure_message(result)
    result = run(instance, "benchmark", "batched", {})
    values = metadata(result)
    assert {one.partition for one in result.get_asset_check_evaluations()} == {"batched"}
    found = checks(instance, result)
    assert found["outcome"] == (True, values["sentence"])
    assert found["gate"] == (True, "batched passes")
    assert found["large_sample"][1].startswith("The quality gate compared 8 abstracts. Set `sample: 32` or more")
    assert " the baseline (one replicate). That may be chance. More replicates tell" in found["beats_baseline"][1]
    assert [found[name][0] for name in ("large_sample", "beats_baseline")] == [False, False]
    job = defs.resolve_job_def("benchmark_preset")
    baseline = job.execute_in_process(instance=instance, partition_key=BASELINE)
    assert checks(instance, baseline)["beats_baseline"] == (True, "It is the baseline.")
    assert values["outcome"] == "ok"
    assert values["speedup"] > 0
    assert 0 < values["share_of_limit"] < 1
    assert " of the limit (overhead binds)" in values["sentence"]
    assert "speedup_low" not in values, "one replicate has no interval"
    assert (values["same"], values["gate"]) == (1.0, "passes")
    assert values["sentence"].startswith("batched (float32, batch 8 on cpu): ")
    assert values["settings"]["batch_size"] == 8
    with monkeypatch.context() as patch:
        patch.setattr(build_report, "gate", lambda *_: Gate(passes=False, reason="writes other texts"))
        result = run(instance, "benchmark", "batched", {})
        assert result.success
        assert checks(instance, result)["gate"] == (False, "batched fails: writes other texts")
    result = run(instance, "benchmark", "not-here", {})
    assert (result.success, result.get_asset_materialization_events()) == (False, []), "it is no green partition"
    assert failure_message(result).startswith("not-here: unsupported. device cuda:99: torch sees")
    assert checks(instance, result) == {"outcome": (False, failure_message(result))}
    values = metadata(defs.resolve_job_def("report_benchmark").execute_in_process(instance=instance))
    assert {row["preset"] for row in values["json"]} == {BASELINE, REFERENCE, "batched", "not-here"}
    assert "passes the gate" in values["winner"]
    assert values["run_config"]["resources"]["gpu"]["config"]["precision"] == "float32"
    assert values["run_config"]["resources"]["summarizer"]["config"]["max_output_tokens"] == 16, "of the model, too"
    assert list(values)[:2] == ["winner", "results"], "the sentence first"
    parts = [values[name] for name in values if name in ("results", "results_2")]
    columns = [column.name for part in parts for column in part.schema.columns]
    assert [name for name in columns if name != "preset"] == [
        *("result", "gate", "speed-up", "per second", "days", "cost", "limit"),
        *("prec.", "batch", "device"),
    ]
    assert columns.count("preset") == len(parts), "each part names its rows"
    results = {record.data["preset"]: record.data for record in values["results"].records}
    assert results.keys() == {BASELINE, REFERENCE, "batched", "not-here"}
    assert results["not-here"]["result"] == "cannot run"
    assert "All presets: engine transformers, quant none, workers 1." in values["results_note"]
    losers = {record.data["preset"]: record.data["reason"] for record in values["losers"].records}
    assert losers["not-here"].startswith("unsupported: device cuda:99: torch sees")
    assert values["cost"] == pytest.approx(100 * 24 * values["days"], rel=1e-3)
    assert "for 40 abstracts, at a price of " in values["winner"]
    assert "energy_kwh" not in values, "no power is measured on a CPU"
    assert values["speedups"].startswith("![plot](<data:image/svg+xml,")
    assert values["plot_quality"].startswith("![plot](data:image/png;base64,")
    assert sum(len(str(value)) for value in values.values()) < 200_000, "the event log keeps it"
    assert list(registered_sweep(registered)[0].presets) == ["not-here", "batched"], "in the order of the file"
    cells = registered.execute("SELECT count(*), count(DISTINCT cell) FROM sum_assets.benchmark_result").fetchall()
    assert cells == [(6, 6)], "each, beside what works its baseline, the baseline by itself, and the reference once"


def test_without_a_sweep_the_error_says_how_to_register_one(database: Connection, instance: dg.DagsterInstance) -> None:
    register_presets(instance, ["batched"])
    result = run(instance, "benchmark", "batched", {})
    assert "No sweep is registered. Register one: `sum-assets sweep sweeps/cpu.yaml`" in failure_message(result)
