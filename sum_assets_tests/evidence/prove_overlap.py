"""Shows how much of a device's time is left to it: `make prove-overlap`, five minutes on two cores.

Models that answer at a set rate summarize real abstracts through the pipeline, with a real tokenizer, into a PostgreSQL
of their own. What the whole takes is compared with what the model alone does.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
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
from sum_assets.defs.resources import demo_summarizer
from sum_assets.id_range import IdRange
from sum_assets.ingest.load import load_file
from sum_assets.pipeline import summarize_range
from sum_assets.summarizer import GpuSettings, resolve_settings
from sum_assets.summarizer.engines.token_engine import TokenEngine
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import EngineState, Output
from sum_assets_tests.evidence.harness import run_in_folder, write_results

ROUNDS = 3
OUTPUT_TOKENS = 120
#: Abstracts per second, abstracts in a batch, abstracts.
CASES = [(50, 16, 300), (500, 16, 10_000), (500, 256, 10_000), (5000, 64, 15_000), (5000, 512, 15_000)]
out = Console(width=120)


class RatedGenerator:
    """Sleeps for as long as a device of that rate works, and writes the first tokens of the prompt's end."""

    def __init__(self, rate: int, batch_size: int) -> None:
        self._rate, self._batch_size = rate, batch_size

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield batch by batch, in the order given."""
        for start in range(0, len(prompts), self._batch_size):
            batch = prompts[start : start + self._batch_size]
            time.sleep(len(batch) / self._rate)
            yield [(start + row, ids[-OUTPUT_TOKENS:]) for row, ids in enumerate(batch)]

    def state(self) -> EngineState:
        """Return the batch size; no device memory is used."""
        return EngineState(f"{self._rate} abstracts/s", self._batch_size, 0, None)


def first_rows(connection: Connection, rows: int) -> IdRange:
    """Return the ID range of so many abstracts."""
    query = "SELECT abstract_id FROM sum_assets.source_abstract ORDER BY abstract_id LIMIT %s"
    ids = [i for (i,) in connection.execute(query, [rows])]
    assert len(ids) == rows
    return IdRange(ids[0], ids[-1])


def measure(url: str, resolved: ModelSettings, rate: int, batch_size: int, rows: int, name: str) -> float:
    """Return what share of the seconds of a run the model alone needs for so many abstracts."""
    store = ResultStore(name, name)
    engine = TokenEngine(resolved, lambda _: RatedGenerator(rate, batch_size), ahead=True)
    with open_database(url) as database:
        database.run(store.register, {})
        id_range = database.run(first_rows, rows)
        started = time.perf_counter()
        result = summarize_range(database, id_range, lambda: engine, store, {})
        seconds = time.perf_counter() - started
    assert result.summarized == rows, result.rejected
    out.print(name, " ".join(f"{phase} {s:.2f}" for phase, s in result.phases.items()), result.beside)
    return rows / rate / seconds


def main(folder: Path) -> None:
    """Take each case in turn, some rounds of them."""
    url = embedded.start(folder / "postgres")
    resolved = resolve_settings(GpuSettings(device="cpu"), demo_summarizer())
    assert isinstance(resolved, ModelSettings)
    try:
        with connect(url) as connection:
            migrate(connection)
            load_file(connection, pubmed_file())
        shares: dict[tuple[int, int, int], list[float]] = {case: [] for case in CASES}
        for number in range(ROUNDS):
            for case in CASES:
                shares[case].append(measure(url, resolved, *case, f"{case} {number}"))
    finally:
        embedded.stop(folder / "postgres")
    table = Table("abstracts/s of the model", "batch", "abstracts", "share of the time, median", "all rounds")
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
