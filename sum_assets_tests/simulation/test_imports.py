"""The simulation needs no database, no model and no Dagster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("psycopg", "torch", "dagster")
FLEET = "rows: 4000\nrepetitions: 2\ndevices: {tpu: {count: 2, abstracts_per_second: 1, assumption: a guess}}\n"
IMPORT_ALL = """
import pkgutil, importlib, sum_assets.simulation as package
for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""
SIMULATE = """
from sum_assets.cli.simulate import app
app(["fleet.yaml", "--json", "--plot", "run.png"], standalone_mode=False)
"""


@pytest.mark.parametrize("code", [IMPORT_ALL, SIMULATE], ids=["import", "command"])
def test_the_simulation_loads_no_database_no_model_and_no_dagster(tmp_path: Path, code: str) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    code += f"\nimport json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout.splitlines()[-1]) == []
