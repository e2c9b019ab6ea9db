"""The commands of the benchmark: register a sweep, measure it, report it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from psycopg import Connection
from pydantic import ValidationError
from rich.box import SIMPLE
from rich.table import Table

from sum_assets.benchmark.sweep import read_sweep
from sum_assets.cli.console import err, out, progress_bar, read_yaml, shipped
from sum_assets.database import schema
from sum_assets.database.benchmark_results import store_sweep
from sum_assets.database.connection import connect
from sum_assets.errors import UserError
from sum_assets.summarizer import SummarizerSettings

if TYPE_CHECKING:
    from sum_assets.benchmark.report import Report
    from sum_assets.benchmark.run import Measured

app = typer.Typer()


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/cpu.yaml.")],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML of summarizer settings.")] = None,
) -> None:
    """Register a sweep: its presets become the partitions of `benchmark`."""
    from sum_assets.defs.instance import open_instance, register_presets
    from sum_assets.defs.resources import default_summarizer

    read = read_sweep(shipped(file))
    try:
        summarizer = SummarizerSettings.model_validate(default_summarizer().model_dump() | read_yaml(config))
    except ValidationError as error:
        raise UserError(f"{config}: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        store_sweep(connection, read.model_dump(), summarizer.model_dump())
        register_presets(instance, list(read.all_presets()))
    out.print(f"{len(read.all_presets())} presets registered: {', '.join(read.all_presets())}", markup=False)


Rows = Annotated[int | None, typer.Option(help="Project to a corpus of so many abstracts.", min=1)]


@app.command()
def benchmark(
    presets: Annotated[str, typer.Option(help="Only these, separated by commas, and the baseline.")] = "",
    sample: Annotated[int | None, typer.Option(help="Instead of the sweep's, from now on.", min=1)] = None,
    replicates: Annotated[int | None, typer.Option(help="Instead of the sweep's, from now on.", min=1)] = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again what is measured already.")] = False,
    rows: Rows = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the presets of the registered sweep in turn; killed, it goes on where it stopped."""
    from sum_assets.benchmark import render
    from sum_assets.benchmark.run import registered_sweep, run_sweep

    chosen = [name for name in presets.split(",") if name]
    with connect() as connection, progress_bar() as progress:
        schema.require_schema(connection)
        plan, summarizer = registered_sweep(connection)
        changes = {name: n for name, n in (("sample", sample), ("replicates", replicates)) if n is not None}
        if changes:
            plan = plan.model_copy(update=changes)
            store_sweep(connection, plan.model_dump(), summarizer.model_dump())
        task = progress.add_task("measuring", total=None)

        def tell(measured: "Measured", new: bool, total: int) -> None:
            cell, result = measured.cell, measured.result
            said = f"{result.abstracts / result.seconds:.3f} abstracts/s" if result.seconds else result.detail
            before = "" if new else " (measured before)"
            line = f"{cell.name}, replicate {cell.replicate}: {result.outcome}, {said}{before}"
            progress.console.print(line, markup=False)
            progress.update(task, advance=1, total=total)

        say = partial(progress.console.print, markup=False)
        measured = run_sweep(connection, plan, summarizer, chosen, force=force, on_cell=tell, say=say)
        found = _report(connection, measured, rows)
    if as_json:
        print(render.as_json(found))
    else:
        _print_report(found)


@app.command()
def largest_batch(
    preset: Annotated[str, typer.Argument(help="A preset of the registered sweep.")],
    memory_limit_mib: Annotated[int | None, typer.Option(help="To fit into; needed on a CPU.", min=1)] = None,
) -> None:
    """Find the largest batch that fits, by a line through measured memory and bisection."""
    from sum_assets.benchmark.largest_batch import Probe
    from sum_assets.benchmark.largest_batch import largest_batch as find
    from sum_assets.benchmark.run import registered_sweep

    def tell(probe: Probe) -> None:
        said = "does not fit" if probe.peak_bytes is None else f"{probe.peak_bytes / 2**20:,.0f} MiB"
        err.print(f"batch {probe.batch_size}: {said}", markup=False)

    with connect() as connection:
        schema.require_schema(connection)
        plan, summarizer = registered_sweep(connection)
        if preset not in plan.all_presets():
            raise UserError(f"The sweep has no preset {preset}. It has: {', '.join(plan.all_presets())}.")
        chosen = plan.all_presets()[preset]
        if memory_limit_mib:
            chosen = chosen.model_copy(update={"memory_limit_mib": memory_limit_mib})
        found = find(connection, chosen, summarizer, plan.time_limit, tell, partial(err.print, markup=False))
    beyond = f"{found.batch_size + 1} does not" if found.complete else "the corpus has no more to try"
    out.print(
        f"batch {found.batch_size} fits in {found.limit_bytes / 2**20:,.0f} MiB, {beyond}; "
        f"the line predicted {found.predicted}"
    )


@app.command()
def report(
    presets: Annotated[list[str] | None, typer.Argument(help="Only these, with what differs between them.")] = None,
    form: Annotated[Literal["md", "html", "csv", "json"] | None, typer.Option("--format", help="Print as.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.")] = None,
    rows: Rows = None,
) -> None:
    """Put what was measured of the registered sweep side by side; nothing is measured."""
    from sum_assets.benchmark import render
    from sum_assets.benchmark.run import measured_so_far, registered_sweep

    with connect() as connection:
        schema.require_schema(connection)
        plan, summarizer = registered_sweep(connection)
        measured = measured_so_far(connection, plan, summarizer)
        found = _report(connection, measured, rows)
    found = found.only(presets) if presets else found
    if form is None and output is None:
        _print_report(found, compared=bool(presets))
        return
    suffix = form or (output.suffix.removeprefix(".") if output else "")
    forms = {
        "md": lambda: render.as_markdown(found, compared=bool(presets)),
        "html": lambda: render.as_html(found, compared=bool(presets)),
        "csv": lambda: render.as_csv(found),
        "json": lambda: render.as_json(found) + "\n",
    }
    if suffix not in forms:
        raise UserError(f"A report is written as {', '.join(forms)}. Say which: --format html.")
    if output is None:
        print(forms[suffix](), end="")
        return
    try:
        output.write_text(forms[suffix](), encoding="utf-8")
    except OSError as error:
        raise UserError(f"The report cannot be written: {error}") from error
    err.print(f"written to {output}", markup=False)


def _report(connection: Connection, measured: Sequence["Measured"], rows: int | None) -> "Report":
    from sum_assets.benchmark import report as reporting
    from sum_assets.defs.instance import open_instance, registered_ranges

    with open_instance() as instance:
        corpus = reporting.corpus_of(connection, len(registered_ranges(instance)))
    return reporting.report(connection, measured, corpus.scaled(rows) if rows else corpus)


def _print_report(found: "Report", compared: bool = False) -> None:
    from sum_assets.benchmark import render

    # Quality and details are too wide for most terminals.
    shown = render.sections(found, compared)
    for section in (shown[name] for name in ("results", "differences", "projection") if name in shown):
        table = Table(*section.headings, title=section.title, title_justify="left", box=SIMPLE, padding=0)
        for row in section.rows:
            table.add_row(*row)
        out.print(table)
        out.print(section.note, markup=False, style="dim", end="\n" if section.note else "")
    out.print(found.sentence, markup=False, style="bold")
    out.print("Quality, details and plots: sum-assets report --output report.html", style="dim")
