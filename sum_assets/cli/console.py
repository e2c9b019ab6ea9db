"""What the commands share: consoles, progress bar, options, and the reading of files."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sum_assets.errors import UserError
from sum_assets.paths import project_file

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def progress_bar() -> Progress:
    """Return a progress bar on standard error, which leaves standard output to results."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=err
    )


def shipped(path: Path) -> Path:
    """Return a file that exists, else the one of that name that comes with the package, else the path unchanged.

    So `sweeps/cpu.yaml` and `fleets/four-k80.yaml` are found outside a checkout, too.
    """
    if path.exists() or path.is_absolute() or path.parts[:1] not in (("sweeps",), ("fleets",)):
        return path
    file = project_file(path.parts[0]).parent / path
    return file if file.is_file() else path


def read_yaml(path: Path | None) -> dict[str, Any]:
    """Read a mapping from YAML, an empty one without a path. Raises UserError if the file holds none."""
    if path is None:
        return {}
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"The configuration {path} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise UserError(f"The configuration {path} is not a mapping of names to settings.")
    return read
