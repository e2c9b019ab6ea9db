"""A value that a person must correct is refused in one sentence at the launch, before there is a run."""

from typing import Any

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import register_ranges, valid_job
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

#: What only the run itself can find out is not here: whether a file, a model or a fingerprint exists.
REFUSED = [
    ("summaries", "limit", 0, "limit is at least 1, not 0. Leave it out"),
    ("summaries", "limit", -3, "limit is at least 1, not -3. Leave it out"),
    ("summaries", "stop_at", "tomorrow", "stop_at 'tomorrow' is not a valid time. Write 07:00, or 2030-12-31T07:00."),
    ("summaries", "stop_at", "25:00", "stop_at '25:00' is not a valid time."),
    ("summaries", "stop_at", "", "stop_at '' is not a valid time."),
    ("summaries", "fingerprint", "newest", "fingerprint has 16 hexadecimal digits, unlike 'newest'."),
    ("comparison", "id_range", "1-2", "'1-2' is not a valid ID range. Expected LOW-HIGH"),
    ("comparison", "fingerprints", ["0123", "Z"], "a fingerprint has up to 16 hexadecimal digits, unlike 'Z'"),
    ("comparison", "fingerprints", None, "fingerprints: Input should be a valid list"),
    ("comparison", "reference", "", "a fingerprint has up to 16 hexadecimal digits, unlike ''"),
    ("sweep", "file", " ", "file must not be empty."),
    ("sweep", "text", "sample: 4\npresets:\n  a: {batch_sise: 2}\n", "text, line 3: presets.a.batch_sise"),
    ("sweep", "text", "sample: 0", "text, line 1: sample"),
]
TAKEN = [
    ("summaries", {"limit": 1, "stop_at": "7:00", "fingerprint": "0123456789abcdef"}),
    ("summaries", {"stop_at": "2020-01-01T00:00+02:00"}),
    ("comparison", {"id_range": IdRange(1, 2).key, "fingerprints": ["0123"], "reference": "f"}),
    ("sweep", {"file": "own.yaml", "text": "sample: 4"}),
]


def in_op(op: str, **config: object) -> dict[str, Any]:
    return {"ops": {op: {"config": config}}}


@pytest.mark.parametrize(("op", "name", "value", "message"), REFUSED)
def test_a_value_that_is_not_valid_is_refused_before_there_is_a_run(
    database: Connection, instance: dg.DagsterInstance, op: str, name: str, value: object, message: str
) -> None:
    first = IdRange(1, 10)
    register_ranges(instance, [first])
    job = defs.resolve_implicit_global_asset_job_def()
    with pytest.raises(dg.DagsterInvalidConfigError) as refused:
        job.execute_in_process(
            in_op(op, **{name: value}),
            instance=instance,
            asset_selection=[dg.AssetKey(op)],
            partition_key=first.key if op == "summaries" else None,
        )
    assert str(refused.value).startswith(message)
    assert instance.get_runs() == []


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_the_wait_for_the_database_is_a_finite_time(seconds: float) -> None:
    with pytest.raises(UserError, match="wait_seconds: Input should be"):
        valid_job({"resources": {"postgres": {"config": {"wait_seconds": seconds}}}})


@pytest.mark.parametrize(("op", "config"), TAKEN)
def test_a_valid_value_is_taken_as_it_is(op: str, config: dict[str, object]) -> None:
    found = dg.validate_run_config(defs.resolve_implicit_global_asset_job_def(), in_op(op, **config))
    assert found["ops"][op]["config"].items() >= config.items()


def test_the_command_line_refuses_it_in_the_same_words() -> None:
    with pytest.raises(
        UserError, match=r"^limit is at least 1, not 0\. Leave it out .*, or 32 abstracts in the job `pilot`\.$"
    ):
        valid_job(in_op("summaries", limit=0))


def test_the_launchpad_keeps_the_fields_with_their_defaults() -> None:
    op = defs.resolve_job_def("summarize_corpus").graph.node_dict["summaries"].definition
    assert op.config_schema
    shape = op.config_schema.config_type
    assert isinstance(shape, dg.Shape)
    defaults = {name: field.default_value for name, field in shape.fields.items() if field.default_provided}
    assert defaults == {"limit": None, "overwrite": False, "stop_at": None, "fingerprint": None}
    assert set(shape.fields) == {"limit", "overwrite", "stop_at", "fingerprint"}
    assert all(field.description for field in shape.fields.values())
