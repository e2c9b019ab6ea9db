"""A sweep is registered from the UI, by the name of its file or by its text."""

from typing import Any

import dagster as dg
import yaml
from psycopg import Connection

from sum_assets.benchmark.run_sweep import registered_sweep
from sum_assets.defs.definitions import defs

TEXT = yaml.safe_dump({"sample": 40, "presets": {"small": {"batch_size": 2}, "short": {"precision": "float32"}}})


def register(instance: dg.DagsterInstance, config: dict[str, Any], **summarizer: Any) -> Any:
    run_config = {"ops": {"sweep": {"config": config}}, "resources": {"summarizer": {"config": summarizer}}}
    job = defs.resolve_job_def("register_sweep")
    return job.execute_in_process(run_config, instance=instance, raise_on_error=False)


def test_a_shipped_file_is_registered_with_the_model_of_the_run(
    database: Connection, instance: dg.DagsterInstance
) -> None:
    result = register(instance, {"file": "sweeps/cpu.yaml"}, model="lab/summaries")
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["model"].value == "lab/summaries"
    sweep, summarizer = registered_sweep(database)
    assert summarizer.model == "lab/summaries"
    assert instance.get_dynamic_partitions("preset") == list(sweep.all_presets())
    assert [record.data["preset"] for record in metadata["presets"].records] == list(sweep.all_presets())


def test_a_text_is_registered(database: Connection, instance: dg.DagsterInstance) -> None:
    result = register(instance, {"text": TEXT})
    (event,) = result.get_asset_materialization_events()
    rows = {record.data["preset"]: record.data for record in event.materialization.metadata["presets"].records}
    assert list(rows) == ["baseline", "reference", "short", "small"]
    assert rows["small"]["settings"] == "batch_size 2"
    assert registered_sweep(database)[0].sample == 40


def test_a_mistake_is_named_and_registers_nothing(database: Connection, instance: dg.DagsterInstance) -> None:
    result = register(instance, {"file": "absent.yaml"})
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert "absent.yaml" in str(failure.event_specific_data.error_display_string)
    assert not instance.get_dynamic_partitions("preset")
    assert database.execute("SELECT count(*) FROM sum_assets.benchmark_sweep").fetchone() == (0,)
