"""The command line: it calls what the assets call."""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.progress import (
    Progress,
    TaskID,
    track,
)
from rich.table import Column, Table

from sum_assets.cli import benchmark as cli_benchmark
from sum_assets.cli import simulate as cli_simulate
from sum_assets.cli import status as cli_status
from sum_assets.cli.console import err, out, progress_bar, read_yaml
from sum_assets.database import device_losses, embedded, schema
from sum_assets.database import publish as publishing
from sum_assets.database import ranges as cutting
from sum_assets.database.connection import connect
from sum_assets.database.verify import uncovered, verify_range
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.ingest.load import load_file
from sum_assets.ingest.records import ReaderOptions
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE, base_dir, demo_dir, home, in_demo, postgres_dir, project_file
from sum_assets.summarizer import environments

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
db = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL server, for who has none.")
app.add_typer(db, name="db")
engine = typer.Typer(no_args_is_help=True, help="Engines that run in an environment of their own.")
app.add_typer(engine, name="engine")

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
RangeKey = Annotated[str | None, typer.Option("--range", help="One ID range; all without it.")]


def main() -> None:
    """Run the command line; a user's error is printed without a traceback, and the exit code is 1."""
    try:
        app()
    except UserError as error:
        err.print("[bold red]Error:[/]", escape(str(error)), soft_wrap=True)
        sys.exit(1)


@db.command()
def start() -> None:
    """Start your own, made on first use, or with SUM_ASSETS_DEMO=1 the demo's; it runs until `stop`."""
    wanted = demo_dir() if os.environ.get(DEMO_VARIABLE) else base_dir()
    out.print(embedded.start(postgres_dir(wanted)), markup=False, soft_wrap=True)


@db.command()
def stop() -> None:
    """Stop the running one: your own, or the demo's where there is no other."""
    data = postgres_dir(home())
    out.print(f"stopped {data}" if embedded.stop(data) else f"{data} was not running")


@engine.command()
def install(
    name: Annotated[str, typer.Argument(help="openvino (CPU) or vllm (causal models).")],
) -> None:
    """Make an engine's environment, or replace it; some minutes and gigabytes."""
    with out.status(f"installing {name}") as status:
        environments.install(name, lambda line: status.update(escape(line[: out.width - 4])))
    versions = ", ".join(f"{library} {version}" for library, version in environments.versions_of(name).items())
    out.print(f"engine {name} is installed: {versions}", markup=False)


@app.command()
def init(
    source: Annotated[str | None, typer.Option(help="Your table, as schema.table, to summarize.")] = None,
    id_column: Annotated[str, typer.Option(help="Its ID: integers, or text such as PMC1234567.")] = "abstract_id",
    abstract_column: Annotated[str, typer.Option(help="Its text.")] = "abstract",
) -> None:
    """Make or migrate the tables; point `source_abstract` at your own table, if you name one."""
    with connect() as connection:
        applied = schema.migrate(connection)
        out.print(f"applied {', '.join(applied)}" if applied else "schema sum_assets is up to date")
        if source:
            index = schema.point_source(connection, source, id_column, abstract_column)
            out.print(f"source_abstract reads {source}", markup=False)
            if index:
                out.print("A range is found by an index on the same expression. Unless it is there, run:")
                out.print(index, markup=False, soft_wrap=True)


@app.command()
def load(
    files: Annotated[list[Path], typer.Argument(help="PubMed or JATS XML or CSV, also with .gz; Parquet.")],
    id_column: Annotated[str, typer.Option(help="CSV, Parquet: the column of IDs.")] = "abstract_id",
    abstract_column: Annotated[str, typer.Option(help="CSV, Parquet: the column of texts.")] = "abstract",
    title_column: Annotated[str | None, typer.Option(help="CSV, Parquet: of titles; `title` if there is one.")] = None,
    version_column: Annotated[str | None, typer.Option(help="CSV, Parquet: of versions, the larger the newer.")] = None,
    jats_id: Annotated[Literal["pmc", "pmid"], typer.Option(help="JATS: which ID an article goes by.")] = "pmc",
) -> None:
    """Load abstracts into the corpus table. A file is loaded whole or not at all, and twice is as once."""
    options = ReaderOptions(id_column, abstract_column, title_column, version_column, jats_id)
    with connect() as connection, progress_bar() as progress:
        schema.require_schema(connection)
        for path in files:
            task = progress.add_task(path.name, total=path.stat().st_size if path.is_file() else None)
            report = load_file(connection, path, options, partial(_advance, progress, task))
            skipped = "".join(
                f"\n  {count:,} skipped: {reason}, first {report.examples[reason][0]}"
                for reason, count in report.skipped.items()
            )
            progress.console.print(
                f"{path.name}: {report.read:,} records, {report.inserted:,} new, {report.updated:,} updated, "
                f"{report.unchanged:,} unchanged{skipped}",
                markup=False,
            )


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


@app.command()
def ranges(
    rows: Annotated[int | None, typer.Option(help="Cut new ranges of so many abstracts.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget all ranges and cut anew.")] = False,
    yes: Yes = False,
) -> None:
    """List the ID ranges; with --rows, add ranges for abstracts below or above them."""
    from sum_assets.defs.instance import forget_ranges, open_instance, register_ranges, registered_ranges

    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        known = registered_ranges(instance)
        if rows is None:
            for id_range in known:
                out.print(id_range.key)
            if reset:
                raise UserError("--reset cuts anew: say how large, --reset --rows N.")
            return
        forgotten = []
        if reset:
            results = {table: n for table, n in publishing.result_counts(connection).items() if n}
            if results and not yes:
                raise UserError(
                    f"There are results ({', '.join(f'{n} {t}' for t, n in results.items())}). They would stay, but "
                    "the history of their ranges would not show. To cut anew all the same: --yes."
                )
            known, forgotten = [], known
        new = cutting.new_ranges(connection, known, rows)
        forget_ranges(instance, [r for r in forgotten if r not in new])
        register_ranges(instance, new)
        all_ranges = sorted(known + new)
        out.print(f"{len(new)} ID ranges added, {len(all_ranges)} in all: {all_ranges[0].key} to {all_ranges[-1].key}")
        if cutting.scans_sequentially(connection, all_ranges[0]):
            err.print(
                "[bold yellow]Warning:[/] reading one range scans the whole table: there is no index on the ID as "
                "source_abstract computes it. `sum-assets init --source ...` prints the one to make.",
                soft_wrap=True,
            )


@app.command()
def materialize(
    first: Annotated[str, typer.Argument(help="An ID range.")],
    last: Annotated[str | None, typer.Argument(help="To take all up to this one in one run.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Run configuration, YAML.")] = None,
    select: Annotated[str, typer.Option(help="Only these assets, separated by commas.")] = "",
) -> None:
    """Run the job `summarize_corpus` here and now for one ID range, or for several in one run."""
    from sum_assets.defs.instance import await_database, failure_message, open_instance, require_registered
    from sum_assets.defs.instance import materialize as run

    run_config = read_yaml(config)
    await_database(run_config)
    with open_instance() as instance:
        for key in (first, last):
            if key is not None:
                require_registered(instance, key)
        result = run(instance, first, last, run_config, [name for name in select.split(",") if name])
    if not result.success:
        raise UserError(failure_message(result))


@app.command()
def backfill(
    first: Annotated[str | None, typer.Argument(help="The first ID range; all without it.")] = None,
    last: Annotated[str | None, typer.Argument(help="The last; only the first without it.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Run configuration, YAML.")] = None,
    url: Annotated[str, typer.Option(help="Dagster's webserver, with its daemon.")] = "http://127.0.0.1:3000",
) -> None:
    """Have a running Dagster (`make ui`) summarize and publish ID ranges, one run each."""
    from sum_assets.defs.backfill import launch_backfill
    from sum_assets.defs.instance import open_instance, registered_ranges, require_registered

    with open_instance() as instance:
        ends = [require_registered(instance, key) for key in (first, last or first) if key]
        keys = [r.key for r in registered_ranges(instance) if not ends or ends[0] <= r <= ends[1]]
    if not keys:
        raise UserError("There are no ID ranges to fill. `sum-assets ranges` lists them.")
    backfill_id = launch_backfill(url, keys, read_yaml(config))
    out.print(f"backfill of {len(keys)} ID ranges: {url}/runs/b/{backfill_id}", soft_wrap=True)


@app.command()
def verify(
    key: RangeKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove that what is published is whole: exit code 1 if a published range is not."""
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
    shown = ("source", "summarized", "rejected", "published")
    counts = (Column(name, justify="right") for name in shown)
    table = Table(Column("ID range", no_wrap=True), *counts, Column("state", overflow="fold"), box=SIMPLE, padding=0)
    begun = [row for row in rows if row["summarized"] or row["rejected"] or row["published"]]
    for row in begun:
        state = "published" if row["published"] else "not published"
        problems = ["missing", "stale", "duplicates", "orphans"] + (["differing"] if row["published"] else [])
        found = [f"{row[name]:,} {name}" for name in problems if row[name]]
        table.add_row(row["key"], *(f"{row[name]:,}" for name in shown), ", ".join([state, *found]))
    table.add_section()
    table.add_row("all ranges", *(f"{totals[name]:,}" for name in shown), f"{totals['uncovered']:,} in no range")
    out.print(table)
    if len(rows) > len(begun):
        out.print(f"{len(rows) - len(begun):,} ranges not begun")


@app.command()
def unpublish(key: RangeKey = None, yes: Yes = False) -> None:
    """Empty the published table, or one range of it. What was generated stays, to be published again."""
    with connect() as connection:
        schema.require_schema(connection)
        id_range = IdRange.from_key(key) if key else None
        _confirm(f"withdraw the published summaries of {key or 'all ranges'}", yes)
        out.print(f"{publishing.unpublish(connection, id_range)} summaries withdrawn")


@app.command()
def discard(fingerprint: Annotated[str, typer.Option(help="Settings whose results go.")], yes: Yes = False) -> None:
    """Delete what was generated and rejected under one fingerprint, unless it is published."""
    with connect() as connection:
        schema.require_schema(connection)
        _confirm(f"delete all results of fingerprint {fingerprint}", yes)
        generated, rejected = publishing.discard(connection, fingerprint)
        out.print(f"{generated} summaries and {rejected} rejections deleted")


@app.command()
def trust() -> None:
    """Use the devices of this machine again that were set aside because runs lost them."""
    with connect() as connection:
        schema.require_schema(connection)
        devices = device_losses.reset(connection)
    out.print(f"in use again: {', '.join(devices)}" if devices else "no device of this machine was lost", markup=False)


def _confirm(what: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"This would {what}. To go ahead without being asked: --yes.")
    typer.confirm(f"This will {what}. Go on?", abort=True)


app.add_typer(cli_status.app)
app.add_typer(cli_benchmark.app)
app.add_typer(cli_simulate.app)


@app.command()
def ui(host: str = "127.0.0.1", port: int = 3000) -> None:
    """Open the Dagster UI on the database in use, starting the embedded one if there is no other.

    As many runs go on at once as there are devices, times SUM_ASSETS_DEVICE_SLOTS.
    """
    from sum_assets.defs.instance import open_instance, set_pool
    from sum_assets.summarizer.device_lease import device_slots

    if in_demo() or not os.environ.get(URL_VARIABLE):
        embedded.start(postgres_dir(home()))
    with connect() as connection:
        schema.migrate(connection)
    with open_instance() as instance:  # Dagster's tables are made here, before its processes start together.
        set_pool(instance, device_slots())
    out.print(f"The UI opens on http://{host}:{port}")
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "dagster",
            "dev",
            "-w",
            str(project_file("workspace.yaml")),
            "-h",
            host,
            "-p",
            str(port),
        ],
    )


@app.command()
def demo() -> None:
    """Take real PubMed abstracts through a real model, in a database of the demo's own."""
    from sum_assets.cli.demo import run_demo

    run_demo(out)


if __name__ == "__main__":
    main()
