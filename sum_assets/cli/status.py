"""The command that shows the state of each ID range."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Column, Table

from sum_assets.cli.console import NO_RANGES, fail_on, out
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.problems import range_problems, registry_problems
from sum_assets.database.range_registry import parse_keys
from sum_assets.database.status import RangeStatus, State, range_status

app = typer.Typer()


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show which ID ranges are done, running, failed, stale, unpublished, partial, empty or not begun.

    Exit code 1 if something published is wrong, or something is in no ID range.
    """
    from sum_assets.defs.instance import open_instance, registered_keys

    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        keys = registered_keys(instance)
        problems = registry_problems(connection, keys)
        statuses = range_status(connection, parse_keys(keys)[0])
    problems += range_problems([(one.id_range, one.counts) for one in statuses])
    states = Counter(one.state for one in statuses)
    if as_json:
        listed = [asdict(problem) for problem in problems]
        ranges = [_as_json(one) for one in statuses]
        print(json.dumps({"ranges": ranges, "totals": states, "problems": listed}, indent=2))
    else:
        _print(statuses, states)
    fail_on(problems)


def _print(statuses: Sequence[RangeStatus], states: Counter[State]) -> None:
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
    out.print(", ".join(f"{count:,} {state}" for state, count in states.most_common()) or NO_RANGES)


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
