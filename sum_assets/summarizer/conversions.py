"""Conversions of a model's files, each made once and cached."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from sum_assets.paths import models_dir


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of a conversion, made on first use.

    It is built in a temporary folder under a lock and renamed when it is complete.
    """
    folder = models_dir() / name
    models_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            building = Path(tempfile.mkdtemp(dir=models_dir(), prefix=".building-"))
            try:
                build(building)
                building.rename(folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder
