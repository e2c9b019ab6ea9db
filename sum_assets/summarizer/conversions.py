"""Conversions of a model's files, each made once and cached."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sum_assets.paths import models_dir

_BUILDING = ".building-"


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of a conversion, made on first use.

    It is built in a temporary folder under a lock and renamed when it is complete. What killed processes left of
    this and other conversions is removed.
    """
    folder = models_dir() / name
    models_dir().mkdir(parents=True, exist_ok=True)
    _remove_leftovers()
    with _lock(name):
        if not folder.is_dir():
            # Never the same folder again: a program that a killed process had started may still write to the last one.
            building = Path(tempfile.mkdtemp(dir=models_dir(), prefix=f"{_BUILDING}{name}."))
            try:
                build(building)
                building.rename(folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder


def _lock(name: str) -> FileLock:
    return FileLock(models_dir() / f"{name}.lock")


def _remove_leftovers() -> None:
    """Remove each temporary folder that nobody builds in: the lock of its conversion is free."""
    for building in models_dir().glob(f"{_BUILDING}*"):
        name = building.name.removeprefix(_BUILDING).rpartition(".")[0] or "leftovers"  # of earlier versions
        with suppress(Timeout, OSError), _lock(name).acquire(blocking=False):
            shutil.rmtree(building, ignore_errors=True)
