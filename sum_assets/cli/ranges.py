"""The command that lists ID ranges and cuts new ones: of so many abstracts, or as large as take so many hours."""

import math
from typing import Annotated

import typer
from psycopg import Connection

from sum_assets.cli.console import Yes, err, fail_on, out, warn
from sum_assets.database import publish, schema
from sum_assets.database.connection import connect
from sum_assets.database.coverage import unusable_ids
from sum_assets.database.problems import key_problems, unusable_problem
from sum_assets.database.range_count import record_new
from sum_assets.database.range_registry import cutting, parse_keys
from sum_assets.database.ranges import new_ranges, scans_sequentially
from sum_assets.database.source_table import index_advice, record_unless_recorded, recorded_source, require_source
from sum_assets.errors import UserError
from sum_assets.units import counted, duration

app = typer.Typer()


@app.command()
def ranges(
    rows: Annotated[int | None, typer.Option(help="Add ranges of this many abstracts.", min=1)] = None,
    hours: Annotated[
        float | None, typer.Option(help="Add ranges that take this many hours, at the rate that was measured.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget all ranges first. Needs --rows or --hours.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Forget ranges that overlap others, and keys that are not ranges.")
    ] = False,
    yes: Yes = False,
) -> None:
    """List the ID ranges. With --rows or --hours, add ranges for abstracts that are in none."""
    change_ranges(rows, hours, reset=reset, repair=repair, yes=yes)


def change_ranges(
    rows: int | None,
    hours: float | None = None,
    *,
    reset: bool = False,
    repair: bool = False,
    yes: bool = False,
    advise: bool = True,
) -> None:
    """Do what `ranges` does; without `advise`, say nothing of what `init` warns of, too."""
    from sum_assets.defs.instance import forget_keys, open_instance, register_ranges, registered_keys, repair_ranges

    if rows is not None and hours is not None:
        raise UserError("--rows and --hours both say how large a range is. Leave one of them out.")
    if hours is not None and not 0 < hours < math.inf:
        raise UserError(f"--hours is more than 0, not {hours:g}.")
    if reset and rows is None and hours is None:
        raise UserError("--reset needs the size of the new ranges: --reset --rows N, or --reset --hours H.")
    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        if hours is not None:
            rows = _rows_in(connection, hours)
        if rows is None and not repair:
            known, invalid = parse_keys(registered_keys(instance))
            for id_range in known:
                out.print(id_range.key)
            fail_on(key_problems(known, invalid))
            return
        with cutting(connection):
            for key in repair_ranges(instance, connection) if repair else ():
                out.print(f"forgotten: {key}", markup=False)
            if rows is None:
                return
            if reset:
                _require_no_results(connection, yes)
            known, invalid = parse_keys(registered_keys(instance))
            require_source(connection)
            with err.status("cutting ID ranges"):
                added = new_ranges(connection, [] if reset else known, rows)
                record_unless_recorded(connection)
                if reset:
                    kept = set(added)
                    forget_keys(instance, [*(r.key for r in known if r not in kept), *invalid])
                    known = []
                register_ranges(instance, added)
                record_new(connection, added)
        every = sorted({*known, *added})
        out.print(f"{counted(len(added), 'ID range')} added, {len(every):,} in all: {every[0].key} to {every[-1].key}")
        if not advise:
            return
        if unusable := unusable_ids(connection):
            warn(unusable_problem(unusable, recorded_source(connection)).message)
        if scans_sequentially(connection, every[0]):
            warn(f"reading one range scans the whole table, for want of an index. {index_advice(connection)}")


def _require_no_results(connection: Connection, yes: bool) -> None:
    if yes:
        return
    with err.status("counting results"):
        results = {table: n for table, n in publish.result_counts(connection).items() if n}
    if results:
        raise UserError(
            f"There are results ({', '.join(f'{n} {t}' for t, n in results.items())}). They would stay, but "
            "the history of their ranges would be hidden. To reset all the same, add --yes."
        )


def _rows_in(connection: Connection, hours: float) -> int:
    """Return how many abstracts a run summarizes in so many hours, and say by which rate.

    Raises UserError where none was measured.
    """
    from sum_assets.cli.measured_rates import range_rate  # imports the benchmark, which the other options do not need

    require_source(connection)
    with err.status("looking up the rate"):
        rate = range_rate(connection)
    rows = max(1, round(rate.per_second * hours * 3600))
    out.print(
        f"{rate.per_second:,.4g} abstracts/s, by {rate.source}: {rows:,} abstracts take {duration(hours / 24)}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    return rows
