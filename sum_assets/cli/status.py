"""The command that shows the state of each ID range."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from sum_assets.cli.console import MOST_ROWS, NO_RANGES, fail_on, out
from sum_assets.cli.partition_keys import dagster_is_here, partition_keys
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.problems import Problem, range_problems, registry_problems
from sum_assets.database.range_registry import parse_keys, ranges_in_runs
from sum_assets.database.run_rate import RunRate, recent_rate
from sum_assets.database.status import RangeStatus, State, range_status
from sum_assets.errors import UserError
from sum_assets.units import counted, duration

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
                seen = _look()
                parts = [*_report(seen), *(problem.message for problem in seen.problems)]
                live.update(Group(*(Text(p) if isinstance(p, str) else p for p in parts)), refresh=True)
                time.sleep(_WATCH_EVERY)
        return
    seen = _look()
    if as_json:
        print(json.dumps(_as_json(seen), indent=2))
    else:
        for part in _report(seen):
            out.print(part, soft_wrap=isinstance(part, str))
    fail_on(seen.problems)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The corpus as it was found."""

    statuses: list[RangeStatus]
    problems: list[Problem]
    rate: RunRate | None

    @property
    def ranges(self) -> Counter[State]:
        return Counter(one.state for one in self.statuses)

    @property
    def abstracts(self) -> Counter[State]:
        return sum((Counter({one.state: one.counts.source}) for one in self.statuses if one.counts), Counter())

    @property
    def left(self) -> int:
        """How many abstracts have no current result, as far as they are counted."""
        return sum(one.counts.pending for one in self.statuses if one.counts)


def _look() -> _Seen:
    with connect() as connection:
        schema.require_schema(connection)
        keys = partition_keys(connection)
        problems = registry_problems(connection, keys)
        ranges = parse_keys(keys)[0]
        in_runs = ranges_in_runs(connection, ranges) if dagster_is_here() else set()
        statuses = range_status(connection, ranges, in_runs=in_runs)
        rate = recent_rate(connection)
    problems += range_problems([(one.id_range, one.counts) for one in statuses])
    return _Seen(statuses, problems, rate)


def _report(seen: _Seen) -> Iterator[Table | str]:
    statuses = seen.statuses
    listed = [one for one in statuses if one.state not in ("not begun", "queued")]
    if len(listed) > MOST_ROWS:  # what is done or waits is in the last line
        listed = [one for one in listed if one.state not in ("done", "uncounted")]
    if listed:
        yield _table(listed[:MOST_ROWS])
    if len(listed) > MOST_ROWS:
        yield f"and {len(listed) - MOST_ROWS:,} more, which --json lists"
    yield ", ".join(f"{n:,} {state}" for state, n in seen.ranges.most_common()) or NO_RANGES
    if seen.abstracts:
        yield "abstracts: " + ", ".join(f"{n:,} {state}" for state, n in seen.abstracts.most_common())
    if seen.rate:
        yield _forecast(seen, seen.rate)
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


def _forecast(seen: _Seen, rate: RunRate) -> str:
    """Say how fast the runs were, and when they will be through, or how long that would take."""
    pace = f"{rate.per_second:,.4g} abstracts/s, measured on {counted(rate.ranges, 'range')}"
    if not seen.left:
        return f"{pace}. None is left."
    seconds, low, high = rate.seconds_for(seen.left)
    left = counted(seen.left, "abstract is", "abstracts are")
    if not (seen.ranges["running"] or seen.ranges["queued"]):
        between = "" if low == high else f", {duration(low / 86400)} to {duration(high / 86400)}"
        return f"{pace}. Nothing runs. {left} left: {duration(seconds / 86400)}{between}."
    now = datetime.now().astimezone()
    ends = [f"{now + timedelta(seconds=s):%Y-%m-%d %H:%M}" for s in (seconds, low, high)]
    between = "" if low == high else f", between {ends[1]} and {ends[2]} (95 % interval)"
    return f"{pace}. {left} left: until about {ends[0]} {now:%Z}{between}."


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


def _as_json(seen: _Seen) -> dict[str, object]:
    forecast = None
    if seen.rate:
        left, low, high = seen.rate.seconds_for(seen.left)
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
        "forecast": forecast,
        "problems": [asdict(problem) for problem in seen.problems],
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
