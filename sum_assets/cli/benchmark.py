"""The commands of the benchmark: register a sweep, measure it, report the results."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
import yaml
from rich.box import SIMPLE
from rich.table import Column, Table

from sum_assets.cli.console import err, out, progress_bar, writing
from sum_assets.errors import UserError
from sum_assets.paths import shipped

if TYPE_CHECKING:
    from psycopg import Connection

    from sum_assets.benchmark.report import BenchmarkReport
    from sum_assets.benchmark.run_sweep import CellMeasurement
    from sum_assets.benchmark.sweep import Sweep

app = typer.Typer()


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/cpu.yaml.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Run configuration with the model alone, a YAML file.")
    ] = None,
) -> None:
    """Register a sweep: its presets become the partitions of the asset `benchmark`."""
    from sum_assets.benchmark.sweep import read_summarizer, read_sweep
    from sum_assets.database import schema
    from sum_assets.database.connection import connect
    from sum_assets.defs.instance import open_instance
    from sum_assets.defs.resources import default_summarizer
    from sum_assets.defs.sweep_registration import register_sweep, report_registration

    plan = read_sweep(shipped(file))
    default = default_summarizer()
    summarizer = read_summarizer(config, default) if config else default
    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        registered = register_sweep(instance, connection, plan, summarizer)
        report_registration(instance, registered)
    out.print(f"registered {registered['registered']}", markup=False)
    out.print(f"model {registered['model']}, {registered['measured']}", markup=False, soft_wrap=True)


Rows = Annotated[int | None, typer.Option(help="Project to a corpus of this many abstracts.", min=1)]


@app.command()
def benchmark(
    presets: Annotated[str, typer.Option(help="Only these presets, separated by commas, and the baseline.")] = "",
    sample: Annotated[int | None, typer.Option(help="Change the sweep's sample to this many abstracts.", min=1)] = None,
    replicates: Annotated[
        int | None, typer.Option(help="Change how often the sweep measures each preset.", min=1)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again what is measured already.")] = False,
    rows: Rows = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the presets of the registered sweep in turn. If it is killed, the next start resumes it."""
    from sum_assets.benchmark import render_report as render
    from sum_assets.benchmark.run_sweep import registered_sweep, run_sweep
    from sum_assets.database import schema
    from sum_assets.database.benchmark_results import store_sweep
    from sum_assets.database.connection import connect

    chosen = [name for name in presets.split(",") if name]
    with connect() as connection, progress_bar() as progress:
        schema.require_schema(connection)
        plan, summarizer = registered_sweep(connection)
        changes = {name: n for name, n in (("sample", sample), ("replicates", replicates)) if n is not None}
        if changes:
            plan = plan.model_copy(update=changes)
            store_sweep(connection, plan.model_dump(), summarizer.model_dump())
        task = progress.add_task("measuring", total=None)

        log = partial(progress.console.print, markup=False)

        def log_result(measurement: "CellMeasurement", new: bool, total: int) -> None:
            cell, result = measurement.cell, measurement.result
            summary = f"{result.abstracts / result.seconds:.3f} abstracts/s" if result.seconds else result.detail
            source = "" if new else " (measured before)"
            log(f"{cell.name}, replicate {cell.replicate}: {result.outcome}, {summary}{source}")
            progress.update(task, advance=1, total=total)

        try:
            measurements = run_sweep(connection, plan, summarizer, chosen, force=force, on_result=log_result, log=log)
        except KeyboardInterrupt as error:
            raise UserError(
                "Stopped. What was measured is kept. The same command, without --force, measures the rest; the "
                "measurement in flight starts over."
            ) from error
        benchmark_report = _build_report(connection, plan, measurements, rows)
    if as_json:
        print(render.as_json(benchmark_report))
    else:
        _print_report(benchmark_report)
    asked = [p for p in benchmark_report.presets if p.preset in chosen or not chosen]
    if not any(p.rate for p in asked):
        raise UserError(f"Nothing could be measured. {asked[0].sentence()}")


@app.command()
def largest_batch(
    preset: Annotated[str, typer.Argument(help="A preset of the registered sweep.")],
    memory_limit_mib: Annotated[
        int | None, typer.Option(help="Memory to fit into, in MiB; required on a CPU.", min=1)
    ] = None,
) -> None:
    """Find the largest batch that fits in memory, by measuring small ones and bisection."""
    from sum_assets.benchmark.largest_batch import Probe
    from sum_assets.benchmark.largest_batch import largest_batch as find
    from sum_assets.benchmark.run_sweep import registered_sweep
    from sum_assets.database import schema
    from sum_assets.database.connection import connect

    def log_probe(probe: Probe) -> None:
        memory = "does not fit" if probe.peak_bytes is None else f"{probe.peak_bytes / 2**20:,.0f} MiB"
        err.print(f"batch {probe.batch_size}: {memory}", markup=False)

    with connect() as connection:
        schema.require_schema(connection)
        plan, summarizer = registered_sweep(connection)
        plan.require_presets([preset])
        chosen = plan.all_presets()[preset]
        if memory_limit_mib:
            chosen = chosen.model_copy(update={"memory_limit_mib": memory_limit_mib})
        largest = find(connection, chosen, summarizer, plan.time_limit, log_probe, partial(err.print, markup=False))
    beyond = f"{largest.batch_size + 1} does not" if largest.complete else "the corpus has no more abstracts to try"
    out.print(
        f"batch {largest.batch_size} fits in {largest.limit_bytes / 2**20:,.0f} MiB, {beyond}; "
        f"predicted from small batches: {largest.predicted}"
    )


@app.command()
def report(
    presets: Annotated[
        list[str] | None, typer.Argument(help="Only these presets, and the settings in which they differ.")
    ] = None,
    form: Annotated[
        Literal["md", "html", "csv", "json"] | None, typer.Option("--format", help="Format of the report.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.")] = None,
    rows: Rows = None,
) -> None:
    """Compare the measured presets of the registered sweep. Nothing is measured."""
    from sum_assets.benchmark import render_report as render

    benchmark_report = measured_report(rows)
    if presets:
        benchmark_report = benchmark_report.only(presets)
    if form is None and output is None:
        _print_report(benchmark_report, compared=bool(presets))
        return
    suffix = form or (output.suffix.removeprefix(".") if output else "")
    forms = {
        "md": lambda: render.as_markdown(benchmark_report, compared=bool(presets)),
        "html": lambda: render.as_html(benchmark_report, compared=bool(presets)),
        "csv": lambda: render.as_csv(benchmark_report),
        "json": lambda: render.as_json(benchmark_report) + "\n",
    }
    if suffix not in forms:
        raise UserError(f"The formats of a report are {', '.join(forms)}. Name one: --format html.")
    if output is None:
        print(forms[suffix](), end="")
        return
    with writing(output, "report"):
        output.write_text(forms[suffix](), encoding="utf-8")


def measured_report(rows: int | None = None) -> "BenchmarkReport":
    """Return the report of the registered sweep, as far as it is measured. Raises UserError without a sweep."""
    from sum_assets.benchmark.run_sweep import earlier_measurements, registered_sweep
    from sum_assets.database import schema
    from sum_assets.database.connection import connect

    with connect() as connection:
        schema.require_schema(connection)
        plan, summarizer = registered_sweep(connection)
        return _build_report(connection, plan, earlier_measurements(connection, plan, summarizer), rows)


def _build_report(
    connection: "Connection", plan: "Sweep", measurements: Sequence["CellMeasurement"], rows: int | None
) -> "BenchmarkReport":
    from sum_assets.benchmark.build_report import build_report
    from sum_assets.benchmark.corpus_lengths import read_corpus
    from sum_assets.defs.instance import open_instance, registered_ranges

    with open_instance() as instance:
        corpus = read_corpus(connection, len(registered_ranges(instance)))
    return build_report(connection, measurements, corpus.scaled(rows) if rows else corpus, plan.price_per_hour)


def _print_report(benchmark_report: "BenchmarkReport", compared: bool = False) -> None:
    from sum_assets.benchmark.report_tables import DECIDING, sections
    from sum_assets.benchmark.results_table import Page, in_width, least_width

    out.print(benchmark_report.sentence, markup=False, style="bold")
    # Quality and details are too wide for most terminals, and summaries too long.
    shown = sections(benchmark_report, compared)
    for name in (name for name in (*DECIDING, "projection") if name in shown):
        section = shown[name]
        page = Page(out.width - 2)
        for part in in_width(section, page) if name == "results" else [section]:
            widths = [int(least_width(part, heading, page)) - 1 for heading in part.headings]
            columns = [Column(h, overflow="fold", min_width=w) for h, w in zip(part.headings, widths, strict=True)]
            table = Table(*columns, title=section.title, title_justify="left", box=SIMPLE, padding=0)
            for row in part.rows:
                table.add_row(*row)
            out.print(table)
        out.print(section.note, markup=False, style="dim", end="\n" if section.note else "")
    if configuration := benchmark_report.run_configuration():
        out.print(f"Run configuration:\n{yaml.safe_dump(configuration)}", markup=False, soft_wrap=True)
    out.print("Summaries, quality, details and plots: sum-assets report --output report.html", style="dim")
