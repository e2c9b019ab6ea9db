"""The contracts on imports fail where a module breaks one."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("database/lease_check.py", "import sum_assets.cli.console", "Layers: an import points downwards"),
        ("summarizer/shortcut.py", "import psycopg", "The summarizer knows no database"),
    ],
)
def test_a_forbidden_import_fails(tmp_path: Path, module: str, statement: str, contract: str) -> None:
    shutil.copytree(ROOT / "sum_assets", tmp_path / "sum_assets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "sum_assets" / module).write_text(f'"""Imports what it must not."""\n\n{statement}\n')
    program = Path(sysconfig.get_path("scripts")) / "lint-imports"
    result = subprocess.run(
        [program, "--no-cache"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in result.stdout
