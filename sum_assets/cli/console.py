"""What the commands share: consoles, progress bar, options, and reading and writing files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sum_assets.errors import UserError

if TYPE_CHECKING:
    from sum_assets.database.problems import Problem

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

#: Ranges that a table lists at most. Of more, those that are done are only counted.
MOST_ROWS = 100
NO_RANGES = "There are no ID ranges yet."
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print("[bold yellow]Warning:[/]", escape(text), soft_wrap=True)


def fail_on(problems: Sequence["Problem"]) -> None:
    """Raise UserError if there are problems: one sentence or two for each."""
    if problems:
        raise UserError("\n".join(problem.message for problem in problems))


def progress_bar() -> Progress:
    """Return a progress bar on standard error; standard output is for results."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
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
