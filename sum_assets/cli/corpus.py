"""The commands of the corpus: make its tables, and load abstracts."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from psycopg import Connection
from rich.progress import Progress, TaskID

from sum_assets.cli.console import out, progress_bar, warn
from sum_assets.database import publish, schema
from sum_assets.database.connection import connect
from sum_assets.database.coverage import repeated_ids, unusable_ids
from sum_assets.database.problems import unusable_problem
from sum_assets.database.ranges import scans_sequentially
from sum_assets.database.roles import Roles, make_roles, parse_roles
from sum_assets.database.source_change import is_tracking, stop_tracking, track_changes
from sum_assets.database.source_table import index_advice, point_source, read_state, recorded_source, require_source
from sum_assets.id_range import LARGEST_ID, IdRange
from sum_assets.ingest.records import ReaderOptions
from sum_assets.units import counted

if TYPE_CHECKING:
    from sum_assets.ingest.load import LoadReport

app = typer.Typer()


@app.command()
def init(
    source: Annotated[
        str | None, typer.Option(help="Your own table, as schema.table; or source_abstract, if you wrote the view.")
    ] = None,
    id_column: Annotated[
        str, typer.Option(help="Its ID column: integers, or text such as PMC1234567.")
    ] = "abstract_id",
    abstract_column: Annotated[str, typer.Option(help="Its text column.")] = "abstract",
    skip_bad_ids: Annotated[
        bool, typer.Option("--skip-bad-ids", help="Leave out rows whose ID no ID range can hold.")
    ] = False,
    track: Annotated[
        bool | None,
        typer.Option("--track-changes/--no-track-changes", help="Have triggers on your table note what is edited."),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(help="Make roles that own, write and read: a prefix, or three names with commas between."),
    ] = None,
) -> None:
    """Create or migrate the tables. With --source, summarize a table of your own."""
    initialize(source, id_column, abstract_column, skip_bad_ids=skip_bad_ids, track=track, roles=roles)


def initialize(
    source: str | None,
    id_column: str,
    abstract_column: str,
    *,
    skip_bad_ids: bool = False,
    track: bool | None = None,
    roles: str | None = None,
    advise: bool = True,
) -> None:
    """Do what `init` does; without `advise`, say nothing of an index that lacks."""
    from sum_assets.defs.instance import open_instance

    named = parse_roles(roles) if roles is not None else None
    with connect() as connection:
        applied = schema.migrate(connection)
        out.print(f"applied {', '.join(applied)}" if applied else "schema sum_assets is up to date")
        with open_instance():  # makes Dagster's tables, so that nothing else has to
            pass
        if named:
            _make_roles(connection, named)
        if source:
            _point(connection, source, id_column, abstract_column, skip_bad_ids)
            if advise and scans_sequentially(connection, IdRange(0, 0)):
                out.print("Reading a range needs an index on the ID, or it scans the whole table:")
                out.print(index_advice(connection), markup=False, soft_wrap=True)
        elif track is not False:
            require_source(connection)
        if track:
            out.print(f"changes of {track_changes(connection)} are tracked", markup=False)
        elif track is False or (source and is_tracking(connection)[0]):
            stop_tracking(connection)
            out.print("changes are not tracked any more")


def _make_roles(connection: Connection, roles: Roles) -> None:
    report = make_roles(connection, roles)
    made = f"made {', '.join(report.made)}; " if report.made else ""
    out.print(
        f"{made}{roles.owner} owns the tables, {roles.writer} runs, {roles.reader} reads. None has a password: make "
        "logins that are members.",
        markup=False,
    )
    for former in report.former_owners:
        warn(
            f"{former} owned tables, and has no rights on them now. If it is to go on running: GRANT {roles.writer} TO "
            f"{former};"
        )


def _point(connection: Connection, source: str, id_column: str, abstract_column: str, skip_bad_ids: bool) -> None:
    before = read_state(connection)[1]
    relation = point_source(connection, source, id_column, abstract_column, skip_bad_ids=skip_bad_ids)
    now = read_state(connection)[1]
    out.print(f"source_abstract reads {relation}" if now else "source_abstract reads no table", markup=False)
    if before not in ([], now) and any(publish.result_counts(connection).values()):
        warn(
            f"It read {', '.join(before)} before, and there are results of that. `sum-assets verify` shows what does "
            "not fit any more."
        )
    if unusable := unusable_ids(connection):
        warn(unusable_problem(unusable, recorded_source(connection)).message)
    repeated, first = repeated_ids(connection, IdRange(0, LARGEST_ID))
    if repeated:
        warn(
            f"{counted(repeated, 'ID is', 'IDs are')} listed more than once, the first {first}. A range with such an "
            f"ID is summarized, but not published. Remove the other rows from {source}, or write a view that lists "
            "every ID once."
        )


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
    from sum_assets.ingest.load import load_file  # imports pyarrow, which would take half of the time of `status`

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
            task = progress.add_task(f"reading {path.name}", total=path.stat().st_size if path.is_file() else None)
            advance, stored = partial(_advance, progress, task), partial(_stored, progress, task, path.name)
            report = load_file(connection, path, options, advance, stored)
            progress.update(task, description=path.name, total=1, completed=1)
            details = "".join(f"\n  {line}" for line in _details(report))
            progress.console.print(
                f"{path.name}: {counted(report.read, 'record')}, {report.inserted:,} new, {report.updated:,} updated, "
                f"{report.unchanged:,} unchanged{details}",
                markup=False,
            )


def _details(report: "LoadReport") -> Iterator[str]:
    """Yield a line on whatever is not new, updated or unchanged."""
    for count, text in (
        (report.incomparable, "updated although the versions cannot be compared: the stored text has another format's"),
        (report.older, "not loaded: what is stored is a newer version"),
        (report.repeated, "not loaded: the file has a newer record of the same ID"),
        (report.kept, "without an abstract: the stored one stays, which is not known to be older"),
    ):
        if count:
            yield f"{count:,} {text}"
    if report.deletions:
        yield counted(report.deletions, "deletion")
    if report.withdrawn:
        withdrawn = counted(report.withdrawn, "stored abstract")
        yield f"{withdrawn} withdrawn. What is summarized of that stays until its range is published again"
    for reason, count in report.skipped.items():
        yield f"{count:,} skipped: {reason}, first {report.examples[reason][0]}"
    for reason, count in report.titles_left_out.items():
        yield f"{counted(count, 'title')} left out: {reason}, first of ID {report.title_examples[reason]}"
    yield from report.remarks


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


def _stored(progress: Progress, task: TaskID, name: str, done: int, total: int) -> None:
    if not done:  # a second bar, since reading and storing take about as long
        progress.reset(task, description=f"storing {name}", total=total or None)
    progress.update(task, completed=done)
