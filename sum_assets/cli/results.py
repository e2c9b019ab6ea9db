"""The commands of results: verify them, withdraw them, delete them."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.progress import track
from rich.table import Column, Table

from sum_assets.cli.console import Yes, err, out
from sum_assets.database import publish, schema
from sum_assets.database.connection import connect
from sum_assets.database.verify import uncovered, verify_range
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

app = typer.Typer()
RangeKey = Annotated[str | None, typer.Option("--range", help="One ID range. Default: all.")]


@app.command()
def verify(
    key: RangeKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare every published range with its source. Exit code 1 if one is incomplete or stale."""
    from sum_assets.defs.instance import open_instance, registered_ranges, require_registered

    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        known = registered_ranges(instance)
        chosen = [require_registered(instance, key)] if key else known
        states = [
            (r, verify_range(connection, r))
            for r in track(chosen, "verifying", console=err, disable=as_json or len(chosen) < 2, transient=True)
        ]
        outside = uncovered(connection, known)
    rows = [{"key": r.key, **asdict(state), "sound": state.sound} for r, state in states]
    counts = [name for name, value in (rows[0] if rows else {}).items() if type(value) is int]
    totals = {name: sum(row[name] for row in rows) for name in counts} | {"uncovered": outside}
    if as_json:
        print(json.dumps({"ranges": rows, "totals": totals}, indent=2))
    else:
        _print_states(rows, totals)
    unsound = [r.key for r, state in states if not state.sound]
    if unsound:
        raise UserError(
            f"{len(unsound)} published ranges are not whole, the first {unsound[0]}. Materialize `summaries` and "
            "`summary_table` for them again."
        )


def _print_states(rows: list[dict[str, Any]], totals: dict[str, int]) -> None:
    if not rows:
        out.print(f"There are no ID ranges yet; {totals['uncovered']:,} rows of the source wait for one.")
        return
    shown = ("source", "summarized", "rejected", "published")
    counts = (Column(name, justify="right") for name in shown)
    table = Table(Column("ID range", no_wrap=True), *counts, Column("state", overflow="fold"), box=SIMPLE, padding=0)
    begun = [row for row in rows if row["summarized"] or row["rejected"] or row["published"]]
    for row in begun:
        state = "published" if row["published"] else "not published"
        problems = ["missing", "stale", "duplicates", "orphans"] + (["differing"] if row["published"] else [])
        counted = [f"{row[name]:,} {name}" for name in problems if row[name]]
        table.add_row(row["key"], *(f"{row[name]:,}" for name in shown), ", ".join([state, *counted]))
    table.add_section()
    table.add_row("all ranges", *(f"{totals[name]:,}" for name in shown), f"{totals['uncovered']:,} in no range")
    out.print(table)
    if len(rows) > len(begun):
        out.print(f"{len(rows) - len(begun):,} ranges not begun")


@app.command()
def unpublish(key: RangeKey = None, yes: Yes = False) -> None:
    """Withdraw published summaries. The generated summaries stay and can be published again."""
    with connect() as connection:
        schema.require_schema(connection)
        id_range = IdRange.from_key(key) if key else None
        _confirm(f"withdraw the published summaries of {key or 'all ranges'}", yes)
        out.print(f"{publish.unpublish(connection, id_range)} summaries withdrawn")


@app.command()
def discard(
    fingerprint: Annotated[str, typer.Option(help="The fingerprint whose results to delete.")], yes: Yes = False
) -> None:
    """Delete all summaries and rejections of one fingerprint. A published fingerprint is refused."""
    with connect() as connection:
        schema.require_schema(connection)
        _confirm(f"delete all results of fingerprint {fingerprint}", yes)
        generated, rejected = publish.discard(connection, fingerprint)
        out.print(f"{generated} summaries and {rejected} rejections deleted")


def _confirm(action: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"This would {action}. To go ahead without being asked: --yes.")
    typer.confirm(f"This will {action}. Continue?", abort=True)
