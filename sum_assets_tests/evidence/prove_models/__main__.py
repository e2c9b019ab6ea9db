"""Proves that engines write what `generate` writes: `make prove-models [families]`."""

import multiprocessing
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sum_assets_tests.evidence.harness import write_results
from sum_assets_tests.evidence.prove_models.families import FAMILIES
from sum_assets_tests.evidence.prove_models.matrix import Cell, prove_family

PROCESSES = 2


def table(cells: Sequence[Cell], key: Callable[[Cell], str], title: str) -> Table:
    """Return how many cells of each family, or of each rule, were held and refused, by engine."""
    engines = list(dict.fromkeys(cell.engine for cell in cells))
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for cell in cells:
        counts[key(cell), cell.engine][cell.outcome] += 1
    rows = Table(title, *engines, box=box.MARKDOWN)
    for name in dict.fromkeys(map(key, cells)):
        found = [counts[name, engine] for engine in engines]
        rows.add_row(name, *(", ".join(f"{n} {outcome}" for outcome, n in sorted(c.items())) for c in found))
    return rows


def main(families: Sequence[str]) -> None:
    """Prove families, print the tables and write out/prove-models.json. Exit with code 1 if a cell is wrong."""
    console = Console(width=120)
    cells: list[Cell] = []
    # Spawned, since threads of torch do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool, Progress(console=console) as progress:
        task = progress.add_task("families", total=len(families))
        for proved in pool.imap(prove_family, families):
            cells += proved
            progress.advance(task)
            wrong = sum(cell.outcome == "wrong" for cell in proved)
            progress.console.print(f"{proved[0].family}: {len(proved)} cells, {wrong} wrong")
    console.print(table(cells, lambda cell: cell.family, "family"))
    console.print(table(cells, lambda cell: cell.rule, "rule"))
    write_results("prove-models", [cell.as_json() for cell in cells])
    wrong_cells = [cell for cell in cells if cell.outcome == "wrong"]
    for cell in wrong_cells:
        console.print(
            f"wrong: {cell.family}, {cell.engine}, {cell.rule}, batch size {cell.batch_size}: "
            f"{cell.equal} of {cell.rows} equal; {cell.detail}",
            markup=False,
        )
    console.print(f"{len(cells)} cells, {len(wrong_cells)} wrong")
    sys.exit(bool(wrong_cells))


if __name__ == "__main__":
    main(sys.argv[1:] or list(FAMILIES))
