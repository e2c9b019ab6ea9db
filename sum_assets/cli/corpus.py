"""The commands of the corpus: make its tables, load abstracts, cut ID ranges."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress, TaskID

from sum_assets.cli.console import Yes, err, out, progress_bar
from sum_assets.database import publish, schema
from sum_assets.database.connection import connect
from sum_assets.database.ranges import new_ranges, scans_sequentially
from sum_assets.errors import UserError
from sum_assets.ingest.load import LoadReport, load_file
from sum_assets.ingest.records import ReaderOptions

app = typer.Typer()


@app.command()
def init(
    source: Annotated[str | None, typer.Option(help="Your own table, as schema.table.")] = None,
    id_column: Annotated[
        str, typer.Option(help="Its ID column: integers, or text such as PMC1234567.")
    ] = "abstract_id",
    abstract_column: Annotated[str, typer.Option(help="Its text column.")] = "abstract",
) -> None:
    """Create or migrate the tables. With --source, summarize a table of your own."""
    with connect() as connection:
        applied = schema.migrate(connection)
        out.print(f"applied {', '.join(applied)}" if applied else "schema sum_assets is up to date")
        if source:
            index = schema.point_source(connection, source, id_column, abstract_column)
            out.print(f"source_abstract reads {source}", markup=False)
            if index:
                out.print("Reading a range needs an index on the same expression. If you have none, run:")
                out.print(index, markup=False, soft_wrap=True)


@app.command()
def load(
    files: Annotated[
        list[Path], typer.Argument(help="PubMed or JATS XML, CSV, JSON Lines, also as .gz, .bz2 or .zst; or Parquet.")
    ],
    id_column: Annotated[str, typer.Option(help="CSV, JSON Lines, Parquet: the ID column.")] = "abstract_id",
    abstract_column: Annotated[str, typer.Option(help="The same: the text column.")] = "abstract",
    title_column: Annotated[str | None, typer.Option(help="The same: the title column, or `title`.")] = None,
    version_column: Annotated[str | None, typer.Option(help="The same: the version; the larger wins.")] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="CSV: what is between columns; `tab` in .tsv, else `,`.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="CSV, JSON Lines: such as cp1252; else UTF-8.")] = None,
    backslash_escapes: Annotated[
        bool, typer.Option("--backslash-escapes", help='CSV: quotes are written as \\", as Spark and MySQL do.')
    ] = False,
    jats_id: Annotated[Literal["pmc", "pmid"], typer.Option(help="JATS: which ID of an article to use.")] = "pmc",
    id_space: Annotated[
        Literal["pmid", "pmc", "own"] | None, typer.Option(help="What bare numbers are, if the corpus has others.")
    ] = None,
) -> None:
    """Load abstracts into the corpus table. Loading is atomic per file and idempotent."""
    delimiter = "\t" if delimiter in ("tab", "\\t") else delimiter
    options = ReaderOptions(
        id_column,
        abstract_column,
        title_column,
        version_column,
        jats_id,
        delimiter,
        encoding,
        backslash_escapes,
        id_space,
    )
    with connect() as connection, progress_bar() as progress:
        schema.require_schema(connection)
        for path in files:
            task = progress.add_task(path.name, total=path.stat().st_size if path.is_file() else None)
            report = load_file(connection, path, options, partial(_advance, progress, task))
            details = "".join(f"\n  {line}" for line in _details(report))
            progress.console.print(
                f"{path.name}: {report.read:,} records, {report.inserted:,} new, {report.updated:,} updated, "
                f"{report.unchanged:,} unchanged{details}",
                markup=False,
            )


def _details(report: LoadReport) -> Iterator[str]:
    """Yield a line on whatever is not new, updated or unchanged."""
    for count, text in (
        (report.incomparable, "updated although the versions cannot be compared: the stored text has another format's"),
        (report.older, "not loaded: what is stored is a newer version"),
        (report.repeated, "not loaded: the file has a newer record of the same ID"),
        (report.deletions, "deletions"),
        (report.withdrawn, "stored abstracts withdrawn. Their summaries stay until their ranges are published again"),
        (report.kept, "have no abstract and keep the stored one, which is not known to be older"),
    ):
        if count:
            yield f"{count:,} {text}"
    for reason, count in report.skipped.items():
        yield f"{count:,} skipped: {reason}, first {report.examples[reason][0]}"
    yield from report.remarks


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


@app.command()
def ranges(
    rows: Annotated[int | None, typer.Option(help="Add ranges of this many abstracts.", min=1)] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget all ranges first. Needs --rows.")] = False,
    yes: Yes = False,
) -> None:
    """List the ID ranges. With --rows, add ranges for abstracts below or above them."""
    from sum_assets.defs.instance import forget_ranges, open_instance, register_ranges, registered_ranges

    with connect() as connection, open_instance() as instance:
        schema.require_schema(connection)
        known = registered_ranges(instance)
        if rows is None:
            for id_range in known:
                out.print(id_range.key)
            if reset:
                raise UserError("--reset needs the size of the new ranges: --reset --rows N.")
            return
        forgotten = []
        if reset:
            results = {table: n for table, n in publish.result_counts(connection).items() if n}
            if results and not yes:
                raise UserError(
                    f"There are results ({', '.join(f'{n} {t}' for t, n in results.items())}). They would stay, but "
                    "the history of their ranges would be hidden. To reset all the same, add --yes."
                )
            known, forgotten = [], known
        added = new_ranges(connection, known, rows)
        forget_ranges(instance, [r for r in forgotten if r not in added])
        register_ranges(instance, added)
        every = sorted(known + added)
        out.print(f"{len(added)} ID ranges added, {len(every)} in all: {every[0].key} to {every[-1].key}")
        if scans_sequentially(connection, every[0]):
            err.print(
                "[bold yellow]Warning:[/] reading one range scans the whole table. The expression that source_abstract "
                "uses as ID has no index. `sum-assets init --source ...` prints the one to create.",
                soft_wrap=True,
            )
