"""Shows how much of a device's time is left to it: `make prove-overlap`, two minutes on two cores.

Engines that answer at a set rate summarize real abstracts through the pipeline, into a PostgreSQL of their own. What
the whole takes is compared with what the engine alone does.
"""

import statistics
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from psycopg import Connection
from rich.console import Console
from rich.table import Table

from sum_assets.cli.demo import pubmed_file
from sum_assets.database import embedded
from sum_assets.database.connection import connect
from sum_assets.database.reconnect import open_database
from sum_assets.database.results import ResultStore
from sum_assets.database.schema import migrate
from sum_assets.id_range import IdRange
from sum_assets.ingest.load import load_file
from sum_assets.pipeline import summarize_range
from sum_assets.summarizer import Abstract, Phases, Rejection, Summary
from sum_assets.summarizer.types import EngineState
from sum_assets_tests.evidence.harness import run_in_folder, write_results

ROUNDS = 3
#: Abstracts per second, abstracts in a batch, abstracts.
CASES = [(50, 16, 300), (500, 16, 3000), (500, 256, 3000), (5000, 64, 15_000), (5000, 512, 15_000)]
out = Console(width=120)


class RatedEngine:
    """Sleeps for as long as a device of that rate works, and answers with the beginning of the abstract."""

    def __init__(self, rate: int, batch_size: int) -> None:
        self._rate, self._batch_size = rate, batch_size

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        """Yield batch by batch, in the order given."""
        waiting = iter(abstracts)
        while batch := list(islice(waiting, self._batch_size)):
            with phases("generate"):
                time.sleep(len(batch) / self._rate)
            yield [Summary(a.abstract_id, a.text[:600], 300, 120, False, "stop") for a in batch]

    def state(self) -> EngineState:
        """Return the batch size; no device memory is used."""
        return EngineState(f"{self._rate} abstracts/s", self._batch_size, 0, None)


def first_rows(connection: Connection, rows: int) -> IdRange:
    """Return the ID range of so many abstracts."""
    query = "SELECT abstract_id FROM sum_assets.source_abstract ORDER BY abstract_id LIMIT %s"
    ids = [i for (i,) in connection.execute(query, [rows])]
    assert len(ids) == rows
    return IdRange(ids[0], ids[-1])


def measure(url: str, rate: int, batch_size: int, rows: int, name: str) -> float:
    """Return what share of the seconds of a run the engine alone needs for so many abstracts."""
    store = ResultStore(name, name)
    with open_database(url) as database:
        database.run(store.register, {})
        id_range = database.run(first_rows, rows)
        started = time.perf_counter()
        summarize_range(database, id_range, lambda: RatedEngine(rate, batch_size), store, {})
        return rows / rate / (time.perf_counter() - started)


def main(folder: Path) -> None:
    """Take each case in turn, some rounds of them."""
    url = embedded.start(folder / "postgres")
    try:
        with connect(url) as connection:
            migrate(connection)
            load_file(connection, pubmed_file())
        shares: dict[tuple[int, int, int], list[float]] = {case: [] for case in CASES}
        for number in range(ROUNDS):
            for case in CASES:
                shares[case].append(measure(url, *case, f"{case} {number}"))
    finally:
        embedded.stop(folder / "postgres")
    table = Table("abstracts/s of the engine", "batch", "abstracts", "share of the time, median", "all rounds")
    results = []
    for (rate, batch_size, rows), found in shares.items():
        median = statistics.median(found)
        every = ", ".join(f"{share:.3f}" for share in found)
        table.add_row(f"{rate:,}", f"{batch_size}", f"{rows:,}", f"{median:.3f}", every)
        results.append({"rate": rate, "batch_size": batch_size, "rows": rows, "share": median})
    out.print(table)
    write_results("prove-overlap", results)


if __name__ == "__main__":
    run_in_folder(main)
