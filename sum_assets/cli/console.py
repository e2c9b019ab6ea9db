"""What the commands share: where they print, their progress bar, and how they read a YAML file."""

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sum_assets.errors import UserError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def progress_bar() -> Progress:
    """Return a progress bar on standard error, which leaves standard output to results."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=err
    )


def read_yaml(path: Path | None) -> dict[str, Any]:
    """Read a mapping from YAML, an empty one without a path. Raises UserError where the file holds none."""
    if path is None:
        return {}
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"The configuration {path} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise UserError(f"The configuration {path} is not a mapping of names to settings.")
    return read
