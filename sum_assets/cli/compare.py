"""The command that compares what runs made under different fingerprints."""

from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from sum_assets.cli.console import err, out
from sum_assets.cli.partition_keys import partition_keys
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.range_registry import parse_keys, require_known

app = typer.Typer()


@app.command()
def compare(
    fingerprints: Annotated[
        list[str] | None, typer.Argument(help="Only these fingerprints, or their beginnings. Default: all.")
    ] = None,
    key: Annotated[str | None, typer.Option("--range", help="One ID range. Default: the whole corpus.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Compare with this fingerprint. Default: the one that is published.")
    ] = None,
) -> None:
    """Compare what runs made of the same abstracts under different configurations: speed, texts and settings."""
    from sum_assets.benchmark.compare_fingerprints import compare_fingerprints

    with connect() as connection:
        schema.require_schema(connection)
        id_range = require_known(key, parse_keys(partition_keys(connection))[0]) if key else None
        with err.status("comparing"):
            comparison = compare_fingerprints(connection, id_range, fingerprints or (), reference)
    for section in comparison.sections():
        columns = (Column(heading, overflow="fold") for heading in section.headings)
        table = Table(*columns, title=section.title, title_justify="left", box=SIMPLE, padding=0)
        for row in section.rows:
            table.add_row(*row)
        out.print(table)
        if section.note:
            out.print(section.note, markup=False, style="dim")
