"""Who answers for the assets, and where their code is, in the definitions as Dagster loads them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sum_assets.defs import ownership

_LOOK = """
import json, warnings
from dagster import BetaWarning
warnings.simplefilter("error", BetaWarning)
from sum_assets.defs.definitions import defs
specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
codes = {key: spec.metadata["dagster/code_references"].code_references for key, spec in specs.items()}
print(json.dumps({
    "owners": {key: list(spec.owners) for key, spec in specs.items()},
    "codes": {key: [reference.source for reference in found] for key, found in codes.items()},
    "checked": sorted({key.asset_key.to_user_string() for key in defs.resolve_asset_graph().asset_check_keys}),
}))
"""
ASSETS = {
    "abstracts", "benchmark", "benchmark_report", "comparison", "corpus_status", "source_abstract", "summaries",
    "summary_table", "sweep",
}  # fmt: skip


def loaded(**variables: str) -> dict[str, Any]:
    """Load the definitions in a process of its own, under these variables."""
    environment = {k: v for k, v in os.environ.items() if k not in (ownership.OWNERS, ownership.CODE_URL)}
    command = [sys.executable, "-c", _LOOK]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_all_assets_have_an_owner_and_their_code() -> None:
    found = loaded()
    assert found["owners"] == {key: ["team:sum_assets"] for key in ASSETS}
    assert found["checked"] == ["benchmark", "summaries", "summary_table"], "a check belongs to its asset"
    assert found["codes"].keys() == ASSETS
    for name, (source,) in found["codes"].items():
        if name in ("corpus_status", "source_abstract"):  # no run makes them
            assert Path(source).is_file()
            assert Path(source).name == f"{name}.py"
        else:
            path, _, line = source.rpartition(":")
            assert Path(path).read_text().splitlines()[int(line) - 1].startswith(("@dg.asset(", "@dg.multi_asset("))


def test_a_lab_names_its_own_and_where_its_code_is_shown() -> None:
    found = loaded(
        SUM_ASSETS_OWNERS="ada@lab.org, team:texts", SUM_ASSETS_CODE_URL="https://git.lab.org/ada/sum_assets/-/tree/v1/"
    )
    assert found["owners"] == {key: ["ada@lab.org", "team:texts"] for key in ASSETS}
    base = "https://git.lab.org/ada/sum_assets/-/tree/v1/sum_assets/defs"
    assert found["codes"]["source_abstract"] == [f"{base}/assets/source_abstract.py"]
    assert found["codes"]["summaries"][0].startswith(f"{base}/assets/corpus.py#L")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (ownership.OWNERS, "ada", "SUM_ASSETS_OWNERS names 'ada'"),
        (ownership.OWNERS, "team:a,", "SUM_ASSETS_OWNERS names ''"),
        (ownership.CODE_URL, "git@lab.org:sum_assets", "SUM_ASSETS_CODE_URL is 'git@lab.org:sum_assets'"),
    ],
)
def test_what_is_not_valid_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str) -> None:
    from sum_assets.defs.doctor import look_at_environment

    monkeypatch.setenv(variable, value)
    (finding,) = look_at_environment()
    assert (finding.level, finding.message.startswith(message)) == ("failure", True), finding
