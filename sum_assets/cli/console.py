"""What the commands share: printing, the progress bar, reading YAML and writing files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sum_assets.errors import UserError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def progress_bar() -> Progress:
    """Return a progress bar on standard error; standard output is for results."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=err
    )


def read_yaml(path: Path | None) -> dict[str, Any]:
    """Read a mapping from YAML; without a path, an empty one. Raises UserError if the file is not one."""
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"The configuration {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"The configuration {path} is not a mapping of names to settings.")
    return content


@contextmanager
def writing(path: Path, what: str) -> Iterator[None]:
    """Say that a file was written, after the block that writes it. Raises UserError if it could not be."""
    try:
        yield
    except OSError as error:
        raise UserError(f"The {what} cannot be written: {error}") from error
    err.print(f"written to {path}", markup=False)
