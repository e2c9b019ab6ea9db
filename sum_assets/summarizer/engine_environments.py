"""Virtual environments for engines whose libraries exclude ours: made by pip for a kind of device."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

from filelock import FileLock

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.paths import engines_dir
from sum_assets.summarizer.engine_registry import ENGINES, Environment, installable_engines
from sum_assets.summarizer.types import Device

_WORKERS = Path(__file__).parent / "engines" / "worker_programs"


def program(name: str) -> Path:
    """Return a program that runs in the engines' environments; it imports nothing of ours."""
    return _WORKERS / f"{name}.py"


def _environment(engine: str) -> Environment:
    """Return what makes up an engine's environment. Raises UserError where there is no such engine."""
    environment = ENGINES[engine].environment if engine in ENGINES else None
    if environment is None:
        raise UserError(f"There is no engine {engine} to install; there are {', '.join(installable_engines())}.")
    return environment


def _packages(requirements: Path) -> list[str]:
    """Return the packages of a file of requirements, without its comments."""
    return [line for line in requirements.read_text().splitlines() if line and not line.startswith("#")]


def python_of(engine: str, kind: str) -> Path:
    """Return an engine's Python for a kind of device.

    Raises UnsupportedError where it is not installed, or for another kind, or not as this version needs it.
    """
    folder, builds = engines_dir() / engine, _environment(engine).builds
    command = f"`sum-assets engine install {engine}" + (f" --device {kind}`" if len(builds) > 1 else "`")
    installed = [each for each, build in builds.items() if (folder / build.requirements).is_file()]
    if not installed:
        raise UnsupportedError(f"engine {engine} is not installed. {command}.")
    if kind not in installed:
        raise UnsupportedError(
            f"engine {engine} is installed for device {installed[0]}, not {kind}. {command} replaces it."
        )
    requirements = builds[kind].requirements
    if _packages(folder / requirements) != _packages(_WORKERS / requirements):
        raise UnsupportedError(
            f"engine {engine} is installed in other versions than this sum_assets needs. {command} replaces it."
        )
    return folder / "bin" / "python"


def versions_of(engine: str) -> dict[str, str]:
    """Return the versions of the installed libraries of an engine's environment; none where it has no environment."""
    environment = ENGINES[engine].environment
    if environment is None:
        return {}
    installed = _versions(engines_dir() / engine)
    return {each: installed[each].partition("+")[0] for each in environment.libraries if each in installed}


def _versions(environment: Path) -> dict[str, str]:
    """Return all that is installed in an environment, versions with their local tags."""
    folders = [str(folder) for folder in (environment / "lib").glob("python*/site-packages")]
    return {distribution.metadata["Name"]: distribution.version for distribution in distributions(path=folders)}


def choose_kind(engine: str, find: Callable[[], Device]) -> str:
    """Return the kind of device to install an engine for: that of the device which `find` returns, or the CPU.

    Raises UserError where there is no such engine.
    """
    kinds = tuple(_environment(engine).builds)
    if len(kinds) == 1:
        return kinds[0]
    device = find()
    return device.kind if ENGINES[engine].serves(device) else "cpu"


def install(engine: str, kind: str, log: Callable[[str], None]) -> None:
    """Make an engine's environment for a kind of device in a temporary folder, and rename it when it is complete.

    `log` gets pip's lines. Raises UserError where there is no such engine, none for such devices, or pip fails.
    """
    builds = _environment(engine).builds
    if kind not in builds:
        raise UserError(
            f"engine {engine} serves {' and '.join(builds)}, not {kind}. Set --device {next(iter(builds))}."
        )
    build = builds[kind]
    engines_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(engines_dir() / f"{engine}.lock"):
        for leftover in engines_dir().glob(f".{engine}-*"):  # of an installation that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        building = Path(tempfile.mkdtemp(dir=engines_dir(), prefix=f".{engine}-"))
        requirements = _WORKERS / build.requirements
        try:
            subprocess.run([sys.executable, "-m", "venv", building], check=True)
            pip = [str(building / "bin" / "python"), "-m", "pip", "install", "--progress-bar", "off"]
            process = subprocess.Popen(
                [*pip, "-r", str(requirements)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert process.stdout
            last = ""
            for line in process.stdout:
                log(line.rstrip())
                last = line.strip() if line.startswith("ERROR") else last
            if process.wait():
                raise UserError(f"engine {engine} could not be installed: {last}")
            if kind == "cuda" and (torch := _versions(building).get("torch", "")).endswith("+cpu"):
                raise UserError(
                    f"engine {engine} could not be installed: pip is configured for torch {torch}, which serves CPUs "
                    "alone. Take the index of PyPI."
                )
            if build.unused:
                subprocess.run([*pip[:3], "uninstall", "--yes", "--quiet", *build.unused], check=True)
            shutil.copy(requirements, building)
            folder = engines_dir() / engine
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
