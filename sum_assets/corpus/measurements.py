"""Draws the benchmark's sample, and keeps its results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row
from psycopg.types.json import Json, Jsonb

from sum_assets.corpus.sql import statement
from sum_assets.errors import UserError

STRATA = 8


def draw_sample(connection: Connection, rows: int) -> list[int]:
    """Return IDs from the whole corpus, stratified by length: the same every time, and a longer sample
    begins with the shorter one."""
    parameters = {"rows": rows, "strata": STRATA}
    return [row[0] for row in connection.execute(statement("benchmark_sample"), parameters)]


@dataclass(frozen=True, slots=True)
class SummaryWriter:
    """Writes what a cell generates, as a run would, or one INSERT and COMMIT each."""

    cell: str
    one_by_one: bool

    def write(self, connection: Connection, summaries: Sequence[tuple[int, str]]) -> None:
        """Commit summaries given as (ID, text)."""
        if self.one_by_one:
            for abstract_id, text in summaries:
                connection.execute(
                    "INSERT INTO sum_assets.benchmark_summary VALUES (%s, %s, %s)", [self.cell, abstract_id, text]
                )
            return
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy("COPY sum_assets.benchmark_summary FROM STDIN") as copy,
        ):
            for abstract_id, text in summaries:
                copy.write_row((self.cell, abstract_id, text))


def forget_summaries(connection: Connection, cell: str) -> None:
    """Delete what an interrupted try of a cell has written."""
    connection.execute("DELETE FROM sum_assets.benchmark_summary WHERE cell = %s", [cell])


def store_result(connection: Connection, row: dict[str, Any]) -> None:
    """Keep a result, in place of an earlier one of the same cell."""
    with connection.transaction():
        connection.execute("DELETE FROM sum_assets.benchmark_result WHERE cell = %s", [row["cell"]])
        wrapped = {k: Jsonb(v) if isinstance(v, dict) else v for k, v in row.items()}
        connection.execute(statement("benchmark_insert"), wrapped)


def load_results(connection: Connection, cells: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the results there are of these cells."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute("SELECT * FROM sum_assets.benchmark_result WHERE cell = ANY (%s)", [list(cells)])
        return {row["cell"]: row for row in rows}


def agreement(connection: Connection, cell: str, reference: str) -> float | None:
    """Return the share of abstracts for which two cells wrote the same text; None where they share none."""
    both, alike = connection.execute(statement("benchmark_agreement"), [cell, reference]).fetchone() or (0, 0)
    return alike / both if both else None


def store_sweep(connection: Connection, sweep: dict[str, Any], summarizer: dict[str, Any]) -> None:
    """Make a sweep the one in use."""
    connection.execute(
        "INSERT INTO sum_assets.benchmark_sweep (sweep, summarizer) VALUES (%s, %s)", [Json(sweep), Jsonb(summarizer)]
    )


def stored_sweep(connection: Connection) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sweep in use and its summarizer settings. Raises UserError where there is none."""
    query = "SELECT sweep, summarizer FROM sum_assets.benchmark_sweep ORDER BY sweep_id DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    if row is None:
        raise UserError("No sweep is registered. Register one: `sum-assets sweep sweeps/cpu.yaml`.")
    return row[0], row[1]
