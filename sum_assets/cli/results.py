"""The commands of results: verify them, publish them, withdraw them, delete them."""

import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from psycopg import Connection
from rich.box import SIMPLE
from rich.progress import track
from rich.table import Column, Table

from sum_assets.cli.console import MOST_ROWS, NO_RANGES, Yes, err, fail_on, out, warn
from sum_assets.cli.partition_keys import partition_keys
from sum_assets.database import publish, schema
from sum_assets.database.connection import connect
from sum_assets.database.count_ranges import count_ranges
from sum_assets.database.problems import Problem, count_problems, range_problems, registry_problems
from sum_assets.database.range_count import may_record
from sum_assets.database.range_lease import Lease, range_lease
from sum_assets.database.range_registry import parse_keys, require_known
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.source_change import take_changes
from sum_assets.database.source_table import source_moved
from sum_assets.database.verify import RangeState, stray
from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID, IdRange
from sum_assets.units import counted

T = TypeVar("T")
app = typer.Typer()
RangeKey = Annotated[str | None, typer.Option("--range", help="One ID range. Default: all.")]


@app.command()
def verify(
    key: RangeKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what is published with the source. Exit code 1 if anything is incomplete, stale or in no ID range."""
    with connect() as connection:
        schema.require_schema(connection)
        keys = partition_keys(connection)
        known, _ = parse_keys(keys)
        if key:
            chosen = [require_known(key, known)]
            moved = source_moved(connection)
            problems = [Problem("source_moved", 1, moved)] if moved else []
            outside = None
        else:
            chosen = known
            with err.status("looking for rows in no ID range"):
                problems = registry_problems(connection, keys)
            outside = sum(p.count for p in problems if p.kind in ("uncovered", "unusable_ids"))
        record = may_record(connection)
        if record:
            take_changes(connection, known)
    recounts = list(
        track(
            count_ranges(chosen, record=record), "verifying", total=len(chosen), console=err,
            disable=as_json or len(chosen) < 2, transient=True,
        )
    )  # fmt: skip
    states = [(r, recount.state) for r, recount in recounts]
    problems += [*range_problems(states), *count_problems(recounts, recorded=record)]
    rows = [{"key": r.key, **asdict(state), "sound": state.sound} for r, state in states]
    counts = [field.name for field in fields(RangeState) if field.type is int]
    totals = {name: sum(row[name] for row in rows) for name in counts}
    if outside is not None:
        totals["uncovered"] = outside
    if as_json:
        listed = [asdict(problem) for problem in problems]
        print(json.dumps({"ranges": rows, "totals": totals, "problems": listed}, indent=2))
    elif rows:
        _print_states(rows, totals)
    else:
        out.print(NO_RANGES)
    fail_on(problems)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where the files go, one for each ID range.")],
    key: RangeKey = None,
    file_format: Annotated[
        Literal["parquet", "jsonl", "csv"], typer.Option("--format", help="How the files are written.")
    ] = "parquet",
) -> None:
    """Write the published summaries and the rejected abstracts to files. Run again, it writes what has changed."""
    from sum_assets.defs.instance import open_instance, registered_keys, require_registered
    from sum_assets.export import Export

    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        known, _ = parse_keys(registered_keys(instance))
        chosen = [require_registered(instance, key)] if key else known
        files = Export(folder, file_format)
        files.remove_others(known)
        exported = [
            files.write(connection, id_range)
            for id_range in track(chosen, "exporting", console=err, disable=len(chosen) < 2, transient=True)
        ]
        outside = sum(span.rows for span in stray(connection, known))
    whole = [found for found in exported if found]
    summaries, rejected = sum(found.published for found in whole), sum(found.rejected for found in whole)
    out.print(
        f"{counted(summaries, 'summary', 'summaries')} and {counted(rejected, 'rejected abstract')} of "
        f"{counted(len(whole), 'ID range')} in {folder}",
        soft_wrap=True,
    )
    if left := len(exported) - len(whole):
        warn(f"{counted(left, 'ID range has', 'ID ranges have')} nothing published, and no file.")
    if outside:
        raise UserError(
            f"{counted(outside, 'published summary is', 'published summaries are')} in no ID range, and in no file. "
            "`sum-assets verify` says what to do."
        )


def _print_states(rows: list[dict[str, Any]], totals: dict[str, int]) -> None:
    shown = ("source", "summarized", "rejected", "published")
    counts = (Column(name, justify="right") for name in shown)
    table = Table(Column("ID range", no_wrap=True), *counts, Column("state", overflow="fold"), box=SIMPLE, padding=0)
    begun = [row for row in rows if row["summarized"] or row["rejected"] or row["published"]]
    listed = begun if len(begun) <= MOST_ROWS else [row for row in begun if not (row["published"] and row["sound"])]
    for row in listed[:MOST_ROWS]:
        state = "published" if row["published"] else "not published"
        problems = ["missing", "stale", "duplicates", "orphans"] + (["differing"] if row["published"] else [])
        faults = [f"{row[name]:,} {name}" for name in problems if row[name]]
        table.add_row(row["key"], *(f"{row[name]:,}" for name in shown), ", ".join([state, *faults]))
    table.add_section()
    if "uncovered" in totals:  # all were looked at
        in_no_range = f"{totals['uncovered']:,} in no range"
        table.add_row("all ranges", *(f"{totals[name]:,}" for name in shown), in_no_range)
    out.print(table)
    if len(begun) > len(listed):
        out.print(f"{counted(len(begun) - len(listed), 'range')} published and whole")
    if len(listed) > MOST_ROWS:
        out.print(f"{len(listed) - MOST_ROWS:,} more, which --json lists")
    if len(rows) > len(begun):
        out.print(f"{counted(len(rows) - len(begun), 'range')} not begun")


@app.command(name="publish")
def publish_fingerprint(
    fingerprint: Annotated[str, typer.Argument(help="The fingerprint, or its beginning.")], yes: Yes = False
) -> None:
    """Publish all ID ranges under one fingerprint, at once: readers see all old summaries, or all new ones."""
    from sum_assets.defs.instance import open_instance, registered_ranges
    from sum_assets.defs.switch import check_tables, log_publications, require_no_publishing_run

    with open_database() as database, open_instance() as instance:
        database.run(schema.require_schema)
        chosen = database.run(publish.find_fingerprint, fingerprint)
        ranges = registered_ranges(instance)
        if not ranges:
            raise UserError(NO_RANGES)
        database.run(require_no_publishing_run, instance)
        database.run(publish.require_all_whole, ranges, chosen, _shown("checking"))
        _confirm(f"publish all ID ranges under fingerprint {chosen}", yes)

        def switch(connection: Connection, lease: Lease) -> dict[IdRange, publish.Publication]:
            require_no_publishing_run(connection, instance)
            return publish.publish_all(connection, ranges, chosen, lease, _shown("publishing"))

        publications = _alone(database, "publish", None, switch)
        log_publications(instance, publications, chosen, _shown("logging"))
        with err.status("checking what is published"):
            changed = check_tables(instance)
    written, withdrawn = (sum(getattr(p, what) for p in publications.values()) for what in ("written", "withdrawn"))
    out.print(
        f"{counted(len(ranges), 'ID range')} published under {chosen}: {counted(written, 'summary', 'summaries')} "
        f"written, {withdrawn:,} withdrawn",
        soft_wrap=True,
    )
    if changed:
        warn(f"Not all of it is whole any more. {changed}")


def _shown(what: str) -> publish.Progress:
    return partial(track, description=what, console=err, transient=True)


@app.command()
def unpublish(
    key: RangeKey = None,
    outside: Annotated[bool, typer.Option("--outside-ranges", help="Only those whose ID is in no ID range.")] = False,
    yes: Yes = False,
) -> None:
    """Withdraw published summaries. The generated summaries stay and can be published again."""
    if key and outside:
        raise UserError("--range and --outside-ranges exclude each other. Give one of them.")
    id_range = IdRange.from_key(key) if key else None
    with open_database() as database:
        database.run(schema.require_schema)
        spans: list[IdRange | None] = _stray_spans(database) if outside else [id_range]
        what = "outside all ID ranges" if outside else f"of {key or 'all ranges'}"
        _confirm(f"withdraw the published summaries {what}", yes)
        withdrawn = sum(_alone(database, "unpublish", span, publish.unpublish, span) for span in spans)
        out.print(f"{counted(withdrawn, 'summary', 'summaries')} withdrawn")


def _stray_spans(database: Database) -> list[IdRange | None]:
    from sum_assets.defs.instance import open_instance, registered_ranges

    with open_instance() as instance:
        return [span.ids for span in database.run(stray, registered_ranges(instance))]


@app.command()
def discard(
    fingerprint: Annotated[str, typer.Option(help="The fingerprint whose results to delete.")], yes: Yes = False
) -> None:
    """Delete all summaries and rejections of one fingerprint. A published fingerprint is refused."""
    with open_database() as database:
        database.run(schema.require_schema)
        _confirm(f"delete all results of fingerprint {fingerprint}", yes)
        generated, rejected = _alone(database, "discard", None, publish.discard, fingerprint)
        out.print(f"{counted(generated, 'summary', 'summaries')} and {counted(rejected, 'rejection')} deleted")


def _alone(database: Database, who: str, span: IdRange | None, work: Callable[..., T], *arguments: object) -> T:
    """Return what `work` returns while no run works on the IDs, or on any. Raises UserError where one does."""
    lo, hi = (max(span.lo, 0), min(span.hi, LARGEST_ID)) if span else (0, LARGEST_ID)
    if lo > hi:  # no run can work there
        return database.run(work, *arguments)
    refusal = None
    with range_lease(database, IdRange(lo, hi), f"{who}-{uuid.uuid4().hex[:8]}") as lease:
        try:
            return database.run(work, *arguments, lease)
        except UserError as error:  # what is refused here is no failure of the ranges
            refusal = error
    raise refusal


def _confirm(action: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"This would {action}. To go ahead without being asked: --yes.")
    typer.confirm(f"This will {action}. Continue?", abort=True)
