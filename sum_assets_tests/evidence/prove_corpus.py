"""What a corpus costs, by its size: `make prove-corpus ROWS=3680000`, under two hours; minutes with `ROWS=37000`.

At a hundredth, a tenth and all of the size, each in a PostgreSQL and a Dagster of its own: a file is loaded, cut into
ID ranges, backfilled with `lead`, looked at and verified. Halfway through the backfill, all processes of Dagster are
killed, and started again.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Annotated

import dagster as dg
import psutil
import typer
from dagster._core.execution.backfill import BulkActionStatus
from matplotlib.figure import Figure
from psycopg import Connection
from rich.console import Console
from rich.table import Table

from sum_assets.cli.demo import pubmed_file
from sum_assets.database.benchmark_results import draw_sample
from sum_assets.database.connection import connect
from sum_assets.defs.instance import open_instance, registered_keys
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import ReaderOptions
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE
from sum_assets.plot_style import PALETTE, style_axes
from sum_assets_tests.evidence.corpus import fill_corpus, real_halves
from sum_assets_tests.evidence.harness import OUT, run_command, write_results
from sum_assets_tests.faults.cases import wait_until
from sum_assets_tests.faults.deployment import answers

PORT = 3978
URL = f"http://127.0.0.1:{PORT}"
#: What each step takes at most, in seconds, with 3.68 million abstracts on two quiet cores.
GOALS = {
    "load": 3_680_000 / 30_000,
    "ranges --reset": 5.0,
    "draw a sample": 10.0,
    "backfill": 40 * 60.0,
    "status": 2.0,
    "verify": 60.0,
    "verify --range": 1.0,
}
CONFIG = '{"resources": {"gpu": {"config": {"engine": "lead"}}}}'
out = Console(width=120)


def timed(*arguments: str) -> float:
    """Run `sum-assets` with these arguments, and return the seconds that it took."""
    started = time.perf_counter()
    run_command(*arguments)
    return time.perf_counter() - started


def write_file(path: Path, rows: int) -> None:
    """Write so many abstracts, made of real ones, to a CSV file."""
    source = pubmed_file()
    with source.open("rb") as stream:
        halves = real_halves(read_records(stream, source, ReaderOptions()))
    with connect() as connection, path.open("wb") as file:
        fill_corpus(connection, halves, rows, lambda _: None)
        query = (
            "COPY (SELECT abstract_id, title, abstract FROM sum_assets.corpus_abstract) TO STDOUT (FORMAT csv, HEADER)"
        )
        with connection.cursor().copy(query) as copy:
            for piece in copy:
                file.write(piece)
        connection.execute("TRUNCATE sum_assets.corpus_abstract")


@contextmanager
def ui(folder: Path) -> Iterator[psutil.Process]:
    """Serve the UI, and kill all processes of it in the end."""
    with (folder / "ui.log").open("ab") as log:
        command = [sys.executable, "-m", "sum_assets.cli.main", "ui", "--port", str(PORT)]
        process = psutil.Popen(command, stdout=log, stderr=log, start_new_session=True)

    try:
        wait_until(lambda: answers(URL), 120, "the webserver")
        yield process
    finally:
        processes = [process, *process.children(recursive=True)]
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(processes)


def summarized(connection: Connection) -> int:
    """Return how many abstracts have a summary or a rejection."""
    query = "SELECT (SELECT count(*) FROM sum_assets.generated_summary) + count(*) FROM sum_assets.rejected_abstract"
    row = connection.execute(query).fetchone()
    return row[0] if row else 0


def backfill(folder: Path, rows: int) -> float:
    """Backfill all ranges with one kill of all processes on the way, and return the seconds from launch to end."""
    config = folder / "run.yaml"
    config.write_text(CONFIG)
    with open_instance() as instance, connect() as connection:
        # A pilot: its rate tells how many ranges a run is to take.
        run_command("materialize", registered_keys(instance)[0], "-c", str(config))
        with ui(folder):
            started = time.perf_counter()
            run_command("backfill", "-c", str(config), "--url", URL)
            wait_until(lambda: summarized(connection) >= rows / 2, 3600, "half of the corpus")
        out.print(f"all processes killed after {time.perf_counter() - started:.0f} s")

        def ended() -> bool:
            (only,) = instance.get_backfills(limit=1)
            return only.status != BulkActionStatus.REQUESTED

        with ui(folder):
            wait_until(ended, 3600, "the end of the backfill")
            seconds = time.perf_counter() - started
        (only,) = instance.get_backfills(limit=1)
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": only.backfill_id}))
        out.print(f"{only.status.value}, runs: {', '.join(run.status.value for run in runs)}")
    return seconds


def measure(folder: Path, rows: int, range_rows: int) -> dict[str, float]:
    """Return the seconds of each step with a corpus of so many abstracts."""
    folder.mkdir()
    for variable in (DEMO_VARIABLE, URL_VARIABLE, "DAGSTER_HOME"):  # the last one is set by what opens an instance
        os.environ.pop(variable, None)
    os.environ["SUM_ASSETS_HOME"] = str(folder)
    run_command("db", "start")
    try:
        run_command("init")
        file = folder / "corpus.csv"
        write_file(file, rows)
        seconds = {"load": timed("load", str(file))}
        file.unlink()
        run_command("ranges", "--rows", "1000")
        seconds["ranges --reset"] = timed("ranges", "--rows", str(range_rows), "--reset")
        with connect() as connection:
            started = time.perf_counter()
            draw_sample(connection, 256)
            seconds["draw a sample"] = time.perf_counter() - started
        seconds["backfill"] = backfill(folder, rows)
        seconds["status"] = timed("status")
        seconds["verify"] = timed("verify")
        with open_instance() as instance:
            key = registered_keys(instance)[0]
        seconds["verify --range"] = timed("verify", "--range", key)
        return seconds
    finally:
        run_command("db", "stop")


def plot(found: dict[int, dict[str, float]]) -> Path:
    """Draw the seconds of each step against the size of the corpus."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for color, step in zip(PALETTE, GOALS, strict=False):
        axes.loglog(list(found), [seconds[step] for seconds in found.values()], "o-", color=color, label=step)
    axes.set_xlabel("abstracts")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False)
    style_axes(axes, "What a corpus costs, by its size")
    path = OUT / "prove-corpus.png"
    figure.savefig(path, dpi=120)
    return path


def show(found: dict[int, dict[str, float]]) -> None:
    """Print the seconds of each step at each size, beside the goal for 3.68 million."""
    table = Table("seconds", *(f"{rows:,}" for rows in found), "goal for 3,680,000")
    for step, goal in GOALS.items():
        table.add_row(step, *(f"{seconds[step]:.1f}" for seconds in found.values()), f"{goal:.0f}")
    out.print(table)


def main(
    rows: Annotated[int, typer.Argument(help="How many abstracts at most.", min=1000)],
    range_rows: Annotated[int, typer.Option(help="Abstracts in an ID range.", min=1)] = 10_000,
) -> None:
    """Measure each size, and write results and plot to out/."""
    found: dict[int, dict[str, float]] = {}
    with TemporaryDirectory(prefix="sum_assets_") as base:
        for size in (rows // 100, rows // 10, rows):
            folder = Path(base) / str(size)
            found[size] = measure(folder, size, range_rows)
            rmtree(folder)
            show(found)
            goals = [(step, found[size][step], goal) for step, goal in GOALS.items()]
            results = [{"name": n, "value": v, "goal": goal, "met": v <= goal} for n, v, goal in goals]
            write_results("prove-corpus", {"rows": size, "goals": results})
    out.print(f"plot: {plot(found)}")


if __name__ == "__main__":
    typer.run(main)
