"""The registry agrees with settings, extras and the launchpad, and costs nothing to import."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
from pydantic import ValidationError

from sum_assets.defs.resources import GpuResource
from sum_assets.summarizer import GpuSettings, user_settings
from sum_assets.summarizer import engine_environments as environments
from sum_assets.summarizer.engine_registry import ENGINES, import_attribute, installable_engines

ROOT = Path(__file__).parents[2]


def test_the_engines_of_registry_settings_extras_and_environments_agree() -> None:
    assert get_args(user_settings.Engine) == tuple(ENGINES)
    assert all(name == spec.name for name, spec in ENGINES.items())
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for spec in ENGINES.values():
        assert (spec.extra is None) == (spec.module is None)
        assert spec.extra is None or spec.extra in extras
        assert set(spec.rules) == (set(spec.architectures) if spec.has_model else set())
        assert spec.name in str(GpuSettings.model_fields["engine"].description)
    requirements = set()
    for spec in (ENGINES[name] for name in installable_engines()):
        assert spec.environment
        assert set(spec.environment.builds) == set(spec.devices)
        requirements |= {build.requirements for build in spec.environment.builds.values()}
    assert requirements == {path.name for path in environments.program("serve").parent.glob("*.txt")}


@pytest.mark.parametrize("name", list(ENGINES))
def test_what_an_entry_names_can_be_imported(name: str) -> None:
    spec = ENGINES[name]
    for path in filter(None, (spec.opens, spec.settings_class, spec.chooses_precision)):
        assert callable(import_attribute(path))


def test_an_unknown_engine_is_refused_by_settings_and_by_dagster() -> None:
    with pytest.raises(ValidationError, match="engine"):
        GpuSettings.model_validate({"engine": "foo"})

    @dg.job(resource_defs={"gpu": GpuResource.configure_at_launch()})
    def nothing() -> None:
        pass

    for engine in ENGINES:
        assert dg.validate_run_config(nothing, {"resources": {"gpu": {"config": {"engine": engine}}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="foo"):
        dg.validate_run_config(nothing, {"resources": {"gpu": {"config": {"engine": "foo"}}}})


def test_settings_and_registry_load_no_engine_and_no_torch() -> None:
    program = "import sys, sum_assets.summarizer; print('torch' in sys.modules, 'transformers' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.split() == ["False", "False"]
