"""The first hour in one command: it runs the other commands in turn, and prints each one."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.panel import Panel

from sum_assets.cli import benchmark, corpus, doctor, runs
from sum_assets.cli import ranges as id_ranges
from sum_assets.cli.console import err, out, progress_bar, read_yaml, warn
from sum_assets.defs.asset_names import PILOT_ROWS
from sum_assets.errors import UserError
from sum_assets.paths import shipped
from sum_assets.progress import Progress, shown_by

if TYPE_CHECKING:
    from sum_assets.summarizer import SummarizerSettings

app = typer.Typer()

#: Rows of a range, of a table that is large enough for ten of them.
_MOST_ROWS = 10_000
_RUN, _PILOT, _MODEL = Path("run.yaml"), Path("pilot.yaml"), Path("model.yaml")
#: The first line of our files. The digest is of the rest: a file that was edited is not overwritten.
_OURS = "# Written by `sum-assets quickstart`, which replaces it until you change it ({digest}).\n"
#: What `doctor` finds amiss before the first `init`, or what only the UI needs.
_LATER = frozenset({"tables", "source", "index", "ID ranges", "storage", "port"})


@app.command()
def quickstart(
    source: Annotated[str, typer.Option(help="Your own table, as schema.table.")],
    id_column: Annotated[str, typer.Option(help="Its ID column.")] = "abstract_id",
    abstract_column: Annotated[str, typer.Option(help="Its text column.")] = "abstract",
    model: Annotated[str | None, typer.Option(help="The model: a name on the Hub, or a folder.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Run configuration with the model alone, a YAML file.")
    ] = None,
    sweep: Annotated[Path, typer.Option(help="The sweep to measure.")] = Path("sweeps/quick.yaml"),
) -> None:
    """Go from your table to a benchmark report and a run configuration, step by step.

    Run it again after a stop: what is done is not done again. Nothing is published.
    """
    from sum_assets.benchmark.sweep import read_summarizer, read_sweep
    from sum_assets.defs.resources import default_summarizer

    if model and config:
        raise UserError("--model and --config both name the model. Leave one of them out.")
    _require_ours(_RUN, _PILOT, *([_MODEL] if model else []))
    read_sweep(shipped(sweep))
    if config:
        read_summarizer(config, default_summarizer())

    judged = ["--model", model] if model else _config(config)
    _step(1, "what can run here", "doctor", *judged)
    report = _look(config, model)
    index_advised = any((one.subject, one.level) == ("index", "warning") for one in report.findings)
    columns = ["--id-column", id_column, "--abstract-column", abstract_column]
    _step(2, "the tables, and a view of yours", "init", "--source", source, *columns)
    corpus.initialize(source, id_column, abstract_column, advise=not index_advised)
    if model:
        config = _MODEL
        settings = {"model": model, "prompt": report.usual_prompt}
        _write(config, {"resources": {"summarizer": {"config": settings}}})
    rows = _range_rows()
    _step(3, "ID ranges, the parts of a full run", "ranges", "--rows", str(rows))
    id_ranges.change_ranges(rows, advise=False)  # `init` did
    _pilot(config, report.usual_prompt)
    _step(5, f"register the sweep{_written(model)}", "sweep", str(sweep), *_config(config))
    benchmark.sweep(sweep, config)
    _step(6, "measure it: some minutes, more with a large model", "benchmark")
    benchmark.benchmark()
    _finish()


def _step(number: int, title: str, *command: str) -> None:
    out.print(f"\n[bold]{number}/6  {escape(title)}[/]")
    out.print(f"$ sum-assets {shlex.join(command)}", markup=False, style="cyan", soft_wrap=True)


def _config(config: Path | None) -> list[str]:
    return ["-c", str(config)] if config else []


def _written(model: str | None) -> str:
    return f"; {_MODEL} names the model" if model else ""


def _require_ours(*paths: Path) -> None:
    """Raise UserError where a file to write is there already, and somebody else's."""
    for path in paths:
        try:
            ours = not path.exists() or _is_as_written(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            ours = False
        if not ours:
            raise UserError(
                f"quickstart writes {path}, and the one in this folder is yours, or was changed since quickstart wrote "
                "it. Rename it, or start in an empty folder. `-c FILE` names a model and its prompt."
            )


def _is_as_written(text: str) -> bool:
    """Return whether a file is as quickstart wrote it, to the last character."""
    first, _, rest = text.partition("\n")
    return f"{first}\n" == _OURS.format(digest=_digest(rest))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(path: Path, content: dict[str, Any]) -> None:
    _require_ours(path)
    try:
        text = yaml.safe_dump(content)
        path.write_text(_OURS.format(digest=_digest(text)) + text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from error


def _look(config: Path | None, model: str | None) -> doctor.Report:
    """Show the page of `doctor` and return it. Raises UserError where something is amiss that no later step repairs."""
    report = doctor.look_and_show(config, model)
    failed = {finding.subject for finding in report.findings if finding.level == "failure"}
    if failed - _LATER:
        raise UserError(
            f"Nothing can run here yet: {', '.join(sorted(failed - _LATER))}. Do what the lines marked FAIL "
            "say, and run quickstart again."
        )
    if failed:
        out.print(f"Not needed yet, or made by the next steps: {', '.join(sorted(failed))}.")
    return report


def _show_prompt(
    settings: "SummarizerSettings", default: "SummarizerSettings", usual: str | None, config: Path | None
) -> None:
    """Say which model gets which prompt, and where to change it. `usual` is the prompt that would fit it."""
    prompt = repr(settings.prompt) if settings.prompt else "none"
    out.print(f"model {settings.model}, prompt: {prompt}", markup=False, soft_wrap=True)
    if config == _MODEL:
        out.print(f"For another prompt, copy {_MODEL}, change the copy, and name it with -c instead of --model.")
    elif usual is not None and settings.prompt == default.prompt != usual:
        fitting = json.dumps(usual, ensure_ascii=False)
        warn(f"This prompt is that of {default.model}. Another model needs its own in {config}: `prompt: {fitting}`.")


def _range_rows() -> int:
    """Return how large ranges are to be: a tenth of a small table. Raises UserError for an empty one."""
    from sum_assets.database.connection import connect
    from sum_assets.database.source import count_up_to

    with connect() as connection, err.status("counting the table"):
        count = count_up_to(connection, 10 * _MOST_ROWS)
    if not count:
        raise UserError("The table has no abstract to summarize. Fill it, and run quickstart again.")
    return max(PILOT_ROWS, min(_MOST_ROWS, count // 10))


def _pilot(config: Path | None, usual_prompt: str | None) -> None:
    """Summarize some abstracts of the first range, publish nothing, and show a few."""
    from sum_assets.benchmark.sweep import read_summarizer
    from sum_assets.defs.instance import open_instance, registered_ranges
    from sum_assets.defs.resources import default_summarizer

    quiet = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}
    limit = {"ops": {"summaries": {"config": {"limit": PILOT_ROWS}}}}
    with open_instance() as instance:
        first = registered_ranges(instance)[0]
    _write(_PILOT, {**read_yaml(config), **quiet, **limit})
    title = f"a pilot of {PILOT_ROWS} abstracts, not published"
    _step(4, title, "materialize", first.key, "-c", str(_PILOT), "--select", "summaries")
    default = default_summarizer()
    _show_prompt(read_summarizer(config, default) if config else default, default, usual_prompt, config)
    with progress_bar() as bar:
        task = bar.add_task("loading the model, and fetching it if it is not here", total=None)

        def show(progress: Progress) -> None:
            says = f"{progress.done} of {progress.total}, {progress.per_second:.2f} abstracts/s"
            bar.update(task, description=says, completed=progress.done, total=progress.total)

        with shown_by(show):
            runs.materialize(first.key, config=_PILOT, select="summaries")
        if not bar.tasks[0].completed:
            bar.update(task, description="summarized before", completed=1, total=1)
    _show_examples(first.key)


def _show_examples(key: str) -> None:
    import dagster as dg

    from sum_assets.database.connection import connect
    from sum_assets.database.statements import statement
    from sum_assets.defs.instance import open_instance
    from sum_assets.id_range import IdRange

    filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey("summaries"), asset_partitions=[key])
    with open_instance() as instance:  # part of a range is observed, a whole one materialized
        observed = instance.fetch_observations(filters, limit=10).records
        made = instance.fetch_materializations(filters, limit=10).records
    events = sorted([*observed, *made], key=lambda record: record.timestamp, reverse=True)
    fields = [(e.asset_observation or e.asset_materialization).metadata for e in events]  # type: ignore[union-attr]
    fingerprint = next((str(one["fingerprint"].value) for one in fields if "fingerprint" in one), "")
    id_range = IdRange.from_key(key)
    bounds = {"lo": id_range.lo, "hi": id_range.hi, "fingerprint": fingerprint}
    with connect() as connection:
        examples = connection.execute(statement("quickstart_examples"), bounds).fetchall()
    for abstract_id, abstract, summary in examples:
        text = f"{escape(abstract)}\n\n[bold]Summary:[/] {escape(summary)}"
        out.print(Panel(text, title=f"ID {abstract_id}", title_align="left"))
    if not examples:
        out.print("No abstract got a summary. `sum-assets status` says how many were rejected.")


def _finish() -> None:
    """Write the winner's configuration. Raises UserError where there is no winner."""
    report = benchmark.measured_report()
    configuration = report.run_configuration()
    if not configuration:
        raise UserError(f"{_RUN} is not written. {report.sentence}")
    _write(_RUN, configuration)
    out.print(f"\n[bold]{_RUN} holds the winner's configuration.[/] The full run, in two terminals:")
    out.print(f"$ sum-assets ui\n$ sum-assets backfill -c {_RUN}", markup=False, style="cyan")
