"""The command that shows the state of each ID range."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from sum_assets.cli.console import MOST_ROWS, NO_RANGES, fail_on, out
from sum_assets.cli.partition_keys import partition_keys
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.corpus_status import CorpusStatus, corpus_status
from sum_assets.database.problems import Problem, range_problems, registry_problems
from sum_assets.database.range_registry import parse_keys
from sum_assets.database.status import RangeStatus
from sum_assets.errors import UserError
from sum_assets.units import counted

app = typer.Typer()


#: Seconds between two looks with --watch.
_WATCH_EVERY = 5.0


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option(help="Look again every five seconds, until Ctrl-C.")] = False,
) -> None:
    """Show which ID ranges are done, running, queued, failed and so on, and when the rest will be done.

    It counts for half a second; for the other ranges it shows what runs and `verify` have counted. Exit code 1 if
    something published is wrong, or something is in no ID range.
    """
    if as_json and watch:
        raise UserError("--watch is for people, --json for programs. Leave one of them out.")
    if watch:
        with suppress(KeyboardInterrupt), Live(console=out, auto_refresh=False) as live:
            while True:
                seen, problems = _look()
                parts = [*_report(seen), *(problem.message for problem in problems)]
                live.update(Group(*(Text(p) if isinstance(p, str) else p for p in parts)), refresh=True)
                time.sleep(_WATCH_EVERY)
        return
    seen, problems = _look()
    if as_json:
        print(json.dumps(_as_json(seen, problems), indent=2))
    else:
        for part in _report(seen):
            out.print(part, soft_wrap=isinstance(part, str))
    fail_on(problems)


def _look() -> tuple[CorpusStatus, list[Problem]]:
    with connect() as connection:
        schema.require_schema(connection)
        keys = partition_keys(connection)
        problems = registry_problems(connection, keys)
        seen = corpus_status(connection, parse_keys(keys)[0])
    problems += range_problems([(one.id_range, one.counts) for one in seen.statuses])
    return seen, problems


def _report(seen: CorpusStatus) -> Iterator[Table | str]:
    statuses = seen.statuses
    listed = [one for one in statuses if one.state not in ("not begun", "queued")]
    if len(listed) > MOST_ROWS:  # what is done or waits is in the last line
        listed = [one for one in listed if one.state not in ("done", "uncounted")]
    if listed:
        yield _table(listed[:MOST_ROWS])
    if len(listed) > MOST_ROWS:
        yield f"and {len(listed) - MOST_ROWS:,} more, which --json lists"
    yield ", ".join(f"{n:,} {state}" for state, n in seen.ranges.most_common()) or NO_RANGES
    if len(seen.made) > 1:
        yield _fingerprints(seen)
    if seen.abstracts:
        yield "abstracts: " + ", ".join(f"{n:,} {state}" for state, n in seen.abstracts.most_common())
    if forecast := seen.forecast:
        yield forecast
    recorded = [one.recorded_at for one in statuses if one.recorded_at]
    if recorded:
        since = f"{min(recorded).astimezone():%Y-%m-%d %H:%M:%S %Z}"
        number = f"{len(recorded):,} of {len(statuses):,}"
        yield (
            f"{number} as runs and `sum-assets verify` counted them, the first at {since}. What others have changed "
            "since then, in the source or in the results, `sum-assets verify` finds."
        )
    if seen.ranges["uncounted"]:
        number = counted(seen.ranges["uncounted"], "range has", "ranges have")
        yield f"{number} changed and not been counted since: `sum-assets verify` counts all."


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


def _fingerprints(seen: CorpusStatus) -> Table:
    table = Table(
        Column("fingerprint", no_wrap=True), Column("model", overflow="fold"), "engine", "precision",
        Column("ranges made", justify="right"), Column("published", justify="right"), box=SIMPLE, padding=0,
    )  # fmt: skip
    for one in seen.made:
        numbers = (f"{len(one.ranges):,}", f"{seen.published[one.fingerprint]:,}")
        table.add_row(one.fingerprint, escape(one.model), one.engine, one.precision, *numbers)
    return table


def _as_json(seen: CorpusStatus, problems: list[Problem]) -> dict[str, object]:
    forecast = None
    if seen.rate and seen.seconds_left:
        left, low, high = seen.seconds_left
        forecast = {
            "abstracts_per_second": seen.rate.per_second,
            "ranges_measured": seen.rate.ranges,
            "seconds_left": left,
            "interval": [low, high],
        }
    return {
        "ranges": [_range_as_json(one) for one in seen.statuses],
        "totals": seen.ranges,
        "abstracts": seen.abstracts,
        "abstracts_left": seen.left,
        "fingerprints": [
            {
                "fingerprint": one.fingerprint,
                "model": one.model,
                "ranges_made": len(one.ranges),
                "ranges_published": seen.published[one.fingerprint],
            }
            for one in seen.made
        ],
        "forecast": forecast,
        "problems": [asdict(problem) for problem in problems],
    }


def _range_as_json(one: RangeStatus) -> dict[str, object]:
    names = ("fingerprint", "source", "summarized", "rejected", "pending", "stale", "published")
    return {
        "key": one.id_range.key,
        "state": one.state,
        "detail": one.detail,
        **{name: getattr(one.counts, name, None) for name in names},
        "recorded_at": one.recorded_at and one.recorded_at.isoformat(),
    }
