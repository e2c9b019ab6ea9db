"""The benchmark's sample, summaries, results and gate verdicts in the database."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Json, Jsonb

from sum_assets.database.characters import storable
from sum_assets.database.source_profile import DRAWN
from sum_assets.database.statements import statement
from sum_assets.errors import UserError

STRATA = 8


def draw_sample(connection: Connection, rows: int) -> list[int]:
    """Return IDs from the whole corpus, stratified by length.

    The sample is the same every time, and a longer one begins with the shorter one. Of a large corpus, the strata are
    those of `DRAWN` abstracts, unless these do not suffice.
    """
    ids: list[int] = []
    for drawn in (DRAWN, None):
        parameters = {"rows": rows, "strata": STRATA, "drawn": drawn}
        ids = [row[0] for row in connection.execute(statement("benchmark_sample"), parameters)]
        if len(ids) == rows:
            break
    return ids


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """One row for `benchmark_summary`; the summary is empty if the model did not write one."""

    abstract_id: int
    summary: str
    input_tokens: int
    output_tokens: int
    finish_reason: str


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """A summary of the sample, with the abstract that it is of; `title` is None if it has none.

    `capped` says that it ended at the output limit.
    """

    abstract_id: int
    summary: str
    capped: bool
    input_tokens: int
    abstract: str
    title: str | None


@dataclass(frozen=True, slots=True)
class SummaryWriter:
    """Writes the summaries of a cell as a run does, or with one INSERT and COMMIT for each."""

    cell: str
    one_by_one: bool

    def write(self, connection: Connection, summaries: Sequence[BenchmarkRow]) -> None:
        """Commit summaries that finished together."""
        rows = [(self.cell, *astuple(summary)) for summary in summaries]
        if self.one_by_one:
            for row in rows:
                connection.execute("INSERT INTO sum_assets.benchmark_summary VALUES (%s, %s, %s, %s, %s, %s)", row)
            return
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy("COPY sum_assets.benchmark_summary FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)


def forget_summaries(connection: Connection, cell: str) -> None:
    """Delete the summaries of a cell, such as those of an interrupted try."""
    connection.execute("DELETE FROM sum_assets.benchmark_summary WHERE cell = %s", [cell])


def store_result(connection: Connection, row: dict[str, Any]) -> None:
    """Store a result in place of an earlier one of the same cell."""
    with connection.transaction():
        connection.execute("DELETE FROM sum_assets.benchmark_result WHERE cell = %s", [row["cell"]])
        wrapped = {k: Jsonb(v) if isinstance(v, dict | list) else v for k, v in row.items()}
        connection.execute(statement("benchmark_insert"), wrapped)


def result_rows(connection: Connection, cells: Sequence[str]) -> list[dict[str, Any]]:
    """Return the stored results of these cells, as rows."""
    with connection.cursor(row_factory=dict_row) as cursor:
        query = "SELECT * FROM sum_assets.benchmark_result WHERE cell = ANY (%s)"
        return cursor.execute(query, [list(cells)]).fetchall()


def summaries_of(connection: Connection, cell: str) -> dict[int, SampleSummary]:
    """Return the summaries of a cell by ID."""
    with connection.cursor(row_factory=class_row(SampleSummary)) as cursor:
        return {row.abstract_id: row for row in cursor.execute(statement("benchmark_summaries"), [cell])}


def store_sweep(connection: Connection, sweep: dict[str, Any], summarizer: dict[str, Any]) -> None:
    """Register a sweep, in place of an earlier one."""
    connection.execute(
        "INSERT INTO sum_assets.benchmark_sweep (sweep, summarizer) VALUES (%s, %s)", [Json(sweep), Jsonb(summarizer)]
    )


def stored_sweep(connection: Connection) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the registered sweep and its summarizer settings. Raises UserError if none is registered."""
    query = "SELECT sweep, summarizer FROM sum_assets.benchmark_sweep ORDER BY sweep_id DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    if row is None:
        raise UserError("No sweep is registered. Register one: `sum-assets sweep sweeps/cpu.yaml`.")
    return row[0], row[1]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether an engine passed the quality gate, and if not, why. `quality` has what was measured."""

    passes: bool
    reason: str
    quality: dict[str, Any]


def titles_of(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return the text and the title of those abstracts that were loaded with one."""
    query = "SELECT abstract_id, abstract, title FROM sum_assets.corpus_abstract WHERE abstract_id = ANY (%s)"
    return {row[0]: (row[1], row[2]) for row in connection.execute(query, [list(ids)])}


def gate_verdict(connection: Connection, fingerprint: str) -> GateVerdict | None:
    """Return the verdict on a fingerprint; None if it was not judged yet."""
    query = "SELECT passes, reason, quality FROM sum_assets.engine_gate WHERE fingerprint = %s"
    with connection.cursor(row_factory=class_row(GateVerdict)) as cursor:
        return cursor.execute(query, [fingerprint]).fetchone()


def record_gate(connection: Connection, fingerprint: str, engine: str, verdict: GateVerdict) -> None:
    """Store a verdict; the first one for a fingerprint counts."""
    row = {
        "fingerprint": fingerprint,
        "engine": engine,
        "passes": verdict.passes,
        "reason": storable(connection, verdict.reason),
        "quality": Jsonb(verdict.quality),
    }
    connection.execute(statement("engine_gate_record"), row)
