"""The command that shows the state of each ID range."""

import json
from collections import Counter
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Column, Table

from sum_assets.cli.console import out
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.status import RangeStatus, range_status

app = typer.Typer()


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show which ID ranges are done, running, failed, stale, unpublished, partial or not begun."""
    from sum_assets.defs.instance import open_instance, registered_ranges

    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        statuses = range_status(connection, registered_ranges(instance))
    states = Counter(one.state for one in statuses)
    if as_json:
        print(json.dumps({"ranges": [_as_json(one) for one in statuses], "totals": states}, indent=2))
        return
    shown = ("source", "summarized", "rejected", "pending", "published")
    table = Table(
        Column("ID range", no_wrap=True), "state", *(Column(name, justify="right") for name in shown),
        Column("", overflow="fold"), box=SIMPLE, padding=0,
    )  # fmt: skip
    for one in statuses:
        if one.state != "not begun":
            counts = (f"{getattr(one.counts, name):,}" for name in shown)
            table.add_row(one.id_range.key, one.state, *counts, escape(one.detail))
    if table.row_count:
        out.print(table)
    out.print(", ".join(f"{count:,} {state}" for state, count in states.most_common()) or "There are no ID ranges yet.")


def _as_json(one: RangeStatus) -> dict[str, object]:
    counts = one.counts
    return {
        "key": one.id_range.key,
        "state": one.state,
        "detail": one.detail,
        "fingerprint": counts.fingerprint,
        "source": counts.source,
        "summarized": counts.summarized,
        "rejected": counts.rejected,
        "pending": counts.pending,
        "stale": counts.stale,
        "published": counts.published,
    }
