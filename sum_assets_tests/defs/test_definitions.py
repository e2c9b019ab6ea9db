"""What the UI shows of the assets before anything has run: columns, jobs and their launchpads."""

import tomllib

import dagster as dg
import pytest
import yaml
from psycopg import Connection

from sum_assets.defs.definitions import defs
from sum_assets.paths import project_file


@pytest.mark.parametrize("asset", ["source_abstract", "summary_table"])
def test_columns_are_those_of_the_table(database: Connection, asset: str) -> None:
    (spec,) = (one for one in defs.resolve_all_asset_specs() if one.key == dg.AssetKey(asset))
    schema, name = spec.metadata["dagster/column_schema"], spec.metadata["dagster/table_name"]
    rows = database.execute(
        "SELECT c.column_name, c.data_type, c.is_nullable = 'YES', coalesce(i.indisprimary, false) "
        "FROM information_schema.columns AS c "
        "LEFT JOIN pg_index AS i ON i.indrelid = %(name)s::text::regclass AND i.indkey[0] = c.ordinal_position "
        "AND i.indisprimary WHERE c.table_schema || '.' || c.table_name = %(name)s::text ORDER BY c.ordinal_position",
        {"name": name},
    )
    assert isinstance(schema, dg.TableSchema)
    shown = [(c.name, c.type, c.constraints.nullable, c.constraints.unique) for c in schema.columns]
    assert shown == rows.fetchall()
    assert all(column.description for column in schema.columns)


@pytest.mark.parametrize(
    ("name", "op", "filled"),
    [
        ("pilot", "summaries", {"limit": 32}),
        ("publish_summaries", "summaries", {"fingerprint": None}),
    ],
)
def test_a_launchpad_opens_with_the_fields_of_its_act(name: str, op: str, filled: dict[str, object]) -> None:
    job = defs.resolve_job_def(name)
    assert job.partitioned_config
    config = job.partitioned_config.get_run_config_for_partition_key("a key")
    assert config == {"ops": {op: {"config": filled}}}
    dg.validate_run_config(job, config)


@pytest.mark.parametrize("name", ["summarize_corpus", "benchmark_preset"])
def test_a_backfill_of_a_job_may_be_given_a_configuration(name: str) -> None:
    """Dagster's daemon fails a backfill with a configuration where the job has one for its partitions, too."""
    job = defs.resolve_job_def(name)
    assert job.partitioned_config
    assert job.partitioned_config.get_run_config_for_partition_key("a key") == {}


@pytest.mark.parametrize("value", ["auto", 64, None])
def test_the_batch_size_is_a_number_or_auto(value: object) -> None:
    job = defs.resolve_job_def("summarize_corpus")
    config = {"resources": {"gpu": {"config": {"batch_size": value, "cuda_graphs": "auto"}}}}
    found = dg.validate_run_config(job, config)["resources"]["gpu"]["config"]
    assert (found["batch_size"], found["cuda_graphs"]) == (64 if value == 64 else None, None)
    shown = job.resource_defs["gpu"].config_schema.config_type
    assert isinstance(shown, dg.Shape)
    assert shown.fields["batch_size"].default_value == "auto", "the launchpad lists it"


@pytest.mark.parametrize("value", ["many", 0, 1.5])
def test_a_batch_size_that_is_neither_is_refused_at_the_launch(value: object) -> None:
    config = {"resources": {"gpu": {"config": {"batch_size": value}}}}
    with pytest.raises(dg.DagsterInvalidConfigError, match="batch_size"):
        dg.validate_run_config(defs.resolve_job_def("summarize_corpus"), config)


def test_the_io_manager_that_dagster_wants_has_no_fields() -> None:
    job = defs.resolve_job_def("summarize_corpus")
    dg.validate_run_config(job, {"resources": {"io_manager": {}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="base_dir"):
        dg.validate_run_config(job, {"resources": {"io_manager": {"config": {"base_dir": "/tmp"}}}})


def test_dg_loads_what_the_workspace_loads() -> None:
    project = tomllib.loads(project_file("pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = yaml.safe_load(project_file("workspace.yaml").read_text())["load_from"]
    assert location["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }
