"""What `deploy/` ships: that Dagster, systemd and a shell take it, and that its parts fit each other."""

import configparser
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.workspace.load import location_origins_from_yaml_paths

from sum_assets.paths import project_file

DEPLOY = project_file("deploy")
UNITS = sorted(DEPLOY.glob("*.service"))


def test_the_run_launcher_fits_below_our_dagster_yaml() -> None:
    base = project_file("dagster.yaml").read_text()
    assert "run_launcher" not in yaml.safe_load(base), "appended, it would replace one"
    for setting in ("max_concurrent_runs: ", " start_timeout_seconds: "):
        assert base.count(setting) == 1
        assert setting in (DEPLOY / "install").read_text(), "it sets this one"
    config = yaml.safe_load(base + (DEPLOY / "run_launcher.yaml").read_text())
    assert set(config) <= set(dagster_instance_config_schema())
    # Read, not imported: dagster-ray is not installed here.
    launcher = importlib.util.find_spec(config["run_launcher"]["module"])
    assert launcher
    assert f"class {config['run_launcher']['class']}(" in Path(str(launcher.origin)).read_text()


def test_the_workspace_is_the_code_server() -> None:
    (origin,) = location_origins_from_yaml_paths([str(DEPLOY / "workspace.yaml")])
    service = (DEPLOY / "sum-assets-code.service").read_text()
    assert f"-h {origin.host} -p {origin.port}" in service  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_take_what_the_environment_file_gives(path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(path)
    given = dict(re.findall(r"^(\w+)=(.+)$", (DEPLOY / "sum_assets.env").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)\}", unit["Service"]["ExecStart"])) <= set(given)
    others = {f"{p.stem}.service" for p in UNITS} | {"network-online.target"}
    assert set(unit["Unit"]["After"].split()) <= others
    (executable, *arguments) = unit["Service"]["ExecStart"].split()
    for argument in (a for a in arguments if a.startswith("/opt/sum_assets/")):
        assert (DEPLOY.parent / argument.removeprefix("/opt/sum_assets/")).exists()
    assert executable.startswith("/opt/sum_assets/.venv/bin/")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for path in UNITS:
        # All that is not here is the installed program.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text.replace("WorkingDirectory=/opt/sum_assets", "WorkingDirectory=/"))
    said = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.glob("*.service")))], capture_output=True, text=True
    )
    assert (said.returncode, said.stderr) == (0, "")


def test_the_installer_is_a_shell_script_that_says_how_to_call_it() -> None:
    said = subprocess.run(["sh", str(DEPLOY / "install"), "gpus"], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (2, "usage: deploy/install head GPUS | deploy/install gpu\n")
    text = (DEPLOY / "install").read_text()
    for unit in {path.stem.removeprefix("sum-assets-") for path in UNITS}:
        assert re.search(rf"units=.*\b{unit}\b", text), unit


def sbatch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the batch script as Slurm does, in a folder whose `sum-assets` says what it was given."""
    program = folder / ".venv" / "bin" / "sum-assets"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text('#!/bin/sh\necho "$SUM_ASSETS_DATABASE_URL: $*"\n')
    program.chmod(0o755)
    return subprocess.run(
        ["bash", str(DEPLOY / "sum-assets.sbatch"), *words],
        cwd=folder, env=os.environ | {"XDG_CONFIG_HOME": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip


def test_a_batch_job_takes_the_url_from_a_file_of_the_users_own(tmp_path: Path) -> None:
    settings = tmp_path / "sum_assets.env"
    settings.write_text("SUM_ASSETS_DATABASE_URL='postgresql://lab/x'\n")
    settings.chmod(0o644)
    assert "chmod 600" in sbatch(tmp_path, "run.yaml").stderr
    settings.chmod(0o600)
    assert sbatch(tmp_path, "run.yaml").stdout == "postgresql://lab/x: work --config run.yaml\n"
    assert (sbatch(tmp_path).returncode, "usage: sbatch" in sbatch(tmp_path).stderr) == (2, True)


COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "postgres"}


@pytest.mark.parametrize("name", OURS)
def test_a_command_of_the_compose_file_is_there(name: str) -> None:
    executable, *words = OURS[name]["command"]
    assert (Path(sys.executable).parent / executable).exists()
    for word in (word for word in words if word.startswith("/opt/sum_assets/")):
        assert (DEPLOY.parent / word.removeprefix("/opt/sum_assets/")).exists()
    flags = [word for word in words if word.startswith("-")]
    command = [str(Path(sys.executable).parent / executable), *itertools.takewhile(lambda w: w not in flags, words)]
    said = subprocess.run([*command, "--help"], capture_output=True, text=True).stdout
    assert [flag for flag in flags if not re.search(rf"(?<!\S){flag}\b", said)] == []


def test_the_processes_of_the_compose_file_find_each_other() -> None:
    (origin,) = location_origins_from_yaml_paths([str(DEPLOY / "compose_workspace.yaml")])
    code = " ".join(SERVICES["code"]["command"])
    assert origin.host in SERVICES  # type: ignore[attr-defined]
    assert f"-h 0.0.0.0 -p {origin.port} " in code  # type: ignore[attr-defined]
    assert SERVICES["webserver"]["ports"] == ["127.0.0.1:3000:3000"], "the UI has no passwords"
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["webserver"]
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
    gpu = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())
    assert set(gpu["services"]) == {"code"}
    for path in re.findall(r"\.\./(\S+)", (DEPLOY / "compose.yaml").read_text()):
        assert (DEPLOY.parent / path).exists()


def test_no_password_is_in_the_compose_file() -> None:
    """Each is a variable, which stands in no file of ours and is documented."""
    text = (DEPLOY / "compose.yaml").read_text()
    variables = set(re.findall(r"\$\{(\w+)", text))
    page = (DEPLOY.parent / "docs" / "reference" / "environment.md").read_text()
    assert variables
    assert [name for name in variables if f"`{name}`" not in page] == []
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or value.startswith("${"), name
            assert not re.search(r"://[^/@]*:[^/@]*@", value), name
    assert "/deploy/.env" in (DEPLOY.parent / ".gitignore").read_text().splitlines()


def test_the_image_gets_all_that_the_package_needs() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert [path for path in kept if not (DEPLOY.parent / path).exists()] == []
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {"constraints.txt", "README.md", *wheel["packages"], *wheel["force-include"]} <= kept
    text = (DEPLOY / "Dockerfile").read_text()
    home = SERVICES["code"]["volumes"][0].partition(":")[2]
    assert f"SUM_ASSETS_HOME={home} " in text
    assert f"DAGSTER_HOME={home}/dagster " in text
