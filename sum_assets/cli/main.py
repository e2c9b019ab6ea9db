"""The command line `sum-assets`, composed of its groups of commands."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.markup import escape

from sum_assets.cli import (
    benchmark,
    compare,
    corpus,
    doctor,
    machine,
    quickstart,
    ranges,
    results,
    runs,
    simulate,
    status,
)
from sum_assets.cli.console import err, out
from sum_assets.database.server_errors import explained
from sum_assets.errors import UserError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
for commands in (corpus, ranges, runs, status, results, compare, benchmark, simulate, doctor, quickstart):
    app.add_typer(commands.app)
for name, group in (("db", machine.db), ("engine", machine.engine), ("devices", machine.devices)):
    app.add_typer(group, name=name)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"sum-assets {version('sum-assets')}", markup=False)
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Summarize a corpus of abstracts in PostgreSQL, and benchmark the ways to do it."""


def main() -> None:
    """Run the command line.

    A UserError, and any error of the database's, is printed without a traceback, and the exit code is 1.
    """
    try:
        app()
    except Exception as error:
        shown = error if isinstance(error, UserError) else explained(error)
        if shown is None:
            raise
        err.print("[bold red]Error:[/]", escape(str(shown)), soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
