"""The commands that run the pipeline: in this process, as a backfill, or from the Dagster UI."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sum_assets.cli.console import out, read_yaml
from sum_assets.database import embedded, schema
from sum_assets.database.connection import connect, database_url
from sum_assets.database.count_ranges import count_edited
from sum_assets.database.status import State, range_status
from sum_assets.database.url import address, read_url
from sum_assets.doctor.port import require_free
from sum_assets.errors import UserError
from sum_assets.paths import URL_VARIABLE, home, in_demo, postgres_dir, project_file
from sum_assets.units import counted

app = typer.Typer()


@app.command()
def materialize(
    first: Annotated[str, typer.Argument(help="The first ID range, as printed by `ranges`.")],
    last: Annotated[str | None, typer.Argument(help="The last ID range. Default: only the first.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Run configuration, a YAML file.")] = None,
    select: Annotated[str, typer.Option(help="Only these assets, separated by commas.")] = "",
) -> None:
    """Summarize and publish one ID range, or several in one run, in this process."""
    from sum_assets.defs.instance import await_database, open_instance, require_span
    from sum_assets.defs.instance import materialize as run
    from sum_assets.defs.run_failures import failure_message

    run_config = read_yaml(config)
    await_database(run_config)
    with open_instance() as instance:
        require_span(instance, first, last or first)
        result = run(instance, first, last, run_config, [name for name in select.split(",") if name])
    if not result.success:
        raise UserError(failure_message(result))


@app.command()
def work(
    first: Annotated[str | None, typer.Argument(help="The first ID range. Default: all ranges.")] = None,
    last: Annotated[str | None, typer.Argument(help="The last ID range. Default: only the first.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Run configuration, a YAML file.")] = None,
) -> None:
    """Summarize and publish the ID ranges that nobody has, one after the other in this process, until none is left.

    Start as many as there are devices, on any hosts: no two do the same range. Ranges that are published are left.
    """
    from sum_assets.database.reconnect import open_database
    from sum_assets.defs.instance import await_database, open_instance, registered_ranges, require_span, valid_job
    from sum_assets.defs.work import work as take_ranges

    run_config = read_yaml(config)
    valid_job(run_config)
    await_database(run_config)
    with open_instance() as instance, open_database() as database:
        ends = require_span(instance, first, last or first) if first else None
        ranges = [r for r in registered_ranges(instance) if not ends or ends[0] <= r <= ends[1]]
        if not ranges:
            raise UserError("There are no ID ranges to work on. Add some: `sum-assets ranges --rows N`.")
        log = partial(out.print, markup=False, soft_wrap=True)
        report = take_ranges(instance, database, ranges, run_config, log)
    others = f" {counted(report.with_others, 'range is', 'ranges are')} with others." if report.with_others else ""
    out.print(f"{counted(len(report.done), 'ID range')} done here, and none is free.{others}")
    if report.failed:
        raise UserError(
            f"{counted(len(report.failed), 'ID range')} failed, the first {next(iter(report.failed)).key}. `sum-assets "
            "status` says why."
        )


@app.command()
def backfill(
    first: Annotated[str | None, typer.Argument(help="The first ID range. Default: all ranges.")] = None,
    last: Annotated[str | None, typer.Argument(help="The last ID range. Default: only the first.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Run configuration, a YAML file.")] = None,
    url: Annotated[str, typer.Option(help="The webserver of the running Dagster.")] = "http://127.0.0.1:3000",
    missing: Annotated[bool, typer.Option("--missing", help="Only ranges that are not published yet.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only ranges whose last run failed.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Only ranges whose abstracts have changed since.")] = False,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="Leave what readers see as it is.")] = False,
) -> None:
    """Launch a backfill in a running Dagster (`sum-assets ui`).

    Of --missing, --failed and --stale, several add up.
    """
    from sum_assets.defs.backfill import launch_backfill, require_own_webserver
    from sum_assets.defs.instance import open_instance, registered_ranges, require_span, valid_job

    run_config = read_yaml(config)
    valid_job(run_config)
    with open_instance() as instance:
        ends = require_span(instance, first, last or first) if first else None
        ranges = [r for r in registered_ranges(instance) if not ends or ends[0] <= r <= ends[1]]
        if not ranges:
            raise UserError("There are no ID ranges to fill. Add some: `sum-assets ranges --rows N`.")
        wanted: list[State] = [*(("not begun", "partial", "unpublished") if missing else ())]
        wanted += [*(("failed",) if failed else ()), *(("stale",) if stale else ())]
        if wanted:
            with connect() as connection:
                if stale:
                    count_edited(connection, ranges)
                ranges = [one.id_range for one in range_status(connection, ranges) if one.state in wanted]
            if not ranges:
                raise UserError(f"No ID range is {' or '.join(wanted)}. `sum-assets status` shows what they are.")
        require_own_webserver(instance, url)
    backfill_id = launch_backfill(url, [r.key for r in ranges], run_config, publish=not no_publish)
    out.print(f"backfill of {counted(len(ranges), 'ID range')}: {url}/runs/b/{backfill_id}", soft_wrap=True)


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 3000,
    ranges_per_run: Annotated[
        int | None,
        typer.Option(help="ID ranges in one run of a backfill. Default: as many as take five minutes.", min=1),
    ] = None,
) -> None:
    """Serve the Dagster UI. It starts the embedded database if no other is configured.

    Runs at a time: the number of devices, times SUM_ASSETS_DEVICE_SLOTS.
    """
    from sum_assets.database.problems import usual_rows
    from sum_assets.defs.instance import open_instance, registered_ranges, set_pool
    from sum_assets.defs.partitions import RANGES_PER_RUN, backfill_policy
    from sum_assets.defs.ranges_per_run import usual_ranges_per_run
    from sum_assets.summarizer.device_lease import device_slots

    backfill_policy()  # raises where the variable is not valid

    require_free(host, port)
    if in_demo() or not os.environ.get(URL_VARIABLE):
        embedded.start(postgres_dir(home()))
    with connect() as connection:
        schema.migrate(connection)
        rows = usual_rows(connection)
    with open_instance() as instance:  # makes Dagster's tables before its processes start together
        set_pool(instance, device_slots())
        if ranges_per_run is None and RANGES_PER_RUN not in os.environ:
            ranges_per_run = usual_ranges_per_run(instance, len(registered_ranges(instance)), rows, device_slots())
    if ranges_per_run is not None:
        os.environ[RANGES_PER_RUN] = str(ranges_per_run)
    out.print(f"A run of a backfill takes {counted(int(os.environ[RANGES_PER_RUN]), 'ID range')}.")
    out.print(f"The UI opens on http://{host}:{port} and serves {address(read_url(database_url()))}", soft_wrap=True)
    workspace = str(project_file("workspace.yaml"))
    dagster = [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", host, "-p", str(port)]
    dagster[1:1] = ["-W", "ignore::FutureWarning"]  # that `dg dev` supersedes `dagster dev`
    os.execv(sys.executable, dagster)


@app.command()
def demo() -> None:
    """Summarize real PubMed abstracts with a small model, in a database of the demo's own."""
    from sum_assets.cli.demo import run_demo

    run_demo(out)
