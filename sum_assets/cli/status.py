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

from sum_assets.cli.console import MOST_ROWS, NO_RANGES, fail_on, out
from sum_assets.cli.partition_keys import partition_keys
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.problems import range_problems, registry_problems
from sum_assets.database.range_registry import parse_keys
from sum_assets.database.status import RangeStatus, State, range_status
from sum_assets.units import counted

app = typer.Typer()


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show which ID ranges are done, running, failed, stale, unpublished, partial, empty, not begun or uncounted.

    It counts for half a second; for the other ranges it shows what runs and `verify` have counted. Exit code 1 if
    something published is wrong, or something is in no ID range.
    """
    with connect() as connection:
        schema.require_schema(connection)
        keys = partition_keys(connection)
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
    listed = [one for one in statuses if one.state != "not begun"]
    if len(listed) > MOST_ROWS:  # what is done or waits is in the last line
        listed = [one for one in listed if one.state not in ("done", "uncounted")]
    if listed:
        out.print(_table(listed[:MOST_ROWS]))
    if len(listed) > MOST_ROWS:
        out.print(f"and {len(listed) - MOST_ROWS:,} more, which --json lists")
    out.print(", ".join(f"{count:,} {state}" for state, count in states.most_common()) or NO_RANGES)
    recorded = [one.recorded_at for one in statuses if one.recorded_at]
    if recorded:
        since = f"{min(recorded).astimezone():%Y-%m-%d %H:%M:%S %Z}"
        number = f"{len(recorded):,} of {len(statuses):,}"
        out.print(
            f"{number} as runs and `sum-assets verify` counted them, the first at {since}. What "
            "others have changed since then, in the source or in the results, `sum-assets verify` finds.",
            soft_wrap=True,
        )
    if states["uncounted"]:
        number = counted(states["uncounted"], "range has", "ranges have")
        out.print(f"{number} changed and not been counted since: `sum-assets verify` counts all.", soft_wrap=True)


def _table(statuses: Sequence[RangeStatus]) -> Table:
    shown = ("source", "summarized", "rejected", "pending", "published")
    table = Table(
        Column("ID range", no_wrap=True), "state", *(Column(name, justify="right") for name in shown),
        Column("", overflow="fold"), box=SIMPLE, padding=0,
    )  # fmt: skip
    for one in statuses:
        counts = (f"{getattr(one.counts, name):,}" if one.counts else "" for name in shown)
        table.add_row(one.id_range.key, one.state, *counts, escape(one.detail))
    return table


def _as_json(one: RangeStatus) -> dict[str, object]:
    names = ("fingerprint", "source", "summarized", "rejected", "pending", "stale", "published")
    return {
        "key": one.id_range.key,
        "state": one.state,
        "detail": one.detail,
        **{name: getattr(one.counts, name, None) for name in names},
        "recorded_at": one.recorded_at and one.recorded_at.isoformat(),
    }
