"""Virtual environments for engines whose libraries exclude ours: made by pip, found by the engine's name."""

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
from sum_assets.summarizer.engine_registry import ENGINES, installable_engines

_WORKERS = Path(__file__).parent / "engines" / "worker_programs"


def program(name: str) -> Path:
    """Return a program that runs in the engines' environments; it imports nothing of ours."""
    return _WORKERS / f"{name}.py"


def _requirements(engine: str) -> Path:
    return _WORKERS / f"{engine}.txt"


def python_of(engine: str) -> Path:
    """Return an engine's Python. Raises UnsupportedError where it is not installed as this version needs it."""
    folder = engines_dir() / engine
    installed = folder / _requirements(engine).name
    if not installed.is_file():
        raise UnsupportedError(f"engine {engine} is not installed. `sum-assets engine install {engine}`.")
    if installed.read_text() != _requirements(engine).read_text():
        raise UnsupportedError(
            f"engine {engine} is installed in other versions than this sum_assets needs. "
            f"`sum-assets engine install {engine}` replaces it."
        )
    return folder / "bin" / "python"


def versions_of(engine: str) -> dict[str, str]:
    """Return the versions of the installed libraries of an engine's environment; none where it has no environment."""
    environment = ENGINES[engine].environment
    if environment is None:
        return {}
    folders = [str(folder) for folder in (engines_dir() / engine / "lib").glob("python*/site-packages")]
    installed = {d.metadata["Name"]: d.version.partition("+")[0] for d in distributions(path=folders)}
    return {library: installed[library] for library in environment.libraries if library in installed}


def install(engine: str, log: Callable[[str], None]) -> None:
    """Build an engine's environment in a temporary folder, and rename the folder when it is complete.

    `log` gets pip's lines. Raises UserError where there is no such engine or pip fails.
    """
    environment = ENGINES[engine].environment if engine in ENGINES else None
    if environment is None:
        raise UserError(f"There is no engine {engine} to install; there are {', '.join(installable_engines())}.")
    engines_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(engines_dir() / f"{engine}.lock"):
        for leftover in engines_dir().glob(f".{engine}-*"):  # of an installation that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        building = Path(tempfile.mkdtemp(dir=engines_dir(), prefix=f".{engine}-"))
        requirements = _requirements(engine)
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
            if environment.unused:
                subprocess.run([*pip[:3], "uninstall", "--yes", "--quiet", *environment.unused], check=True)
            shutil.copy(requirements, building)
            folder = engines_dir() / engine
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
