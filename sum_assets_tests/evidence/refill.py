"""What refilling the slots of a batch would save, on paper: `python -m sum_assets_tests.evidence.refill`, seconds.

It plays summaries of 110 tokens at the median and 184 at the 95th percentile, as `make prove-gpu` writes them: in
static batches, with ended rows dropped, and with the slots of ended rows filled again. A step costs as much as its
rows, and as much as some rows more: what it reads and launches for any number of them.
"""

import heapq
import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sum_assets.summarizer.engines.decoding.decoder import COMPACT_AT
from sum_assets_tests.evidence.harness import write_results
from sum_assets_tests.evidence.prove_gpu.countdown import draw_lengths

#: Tokens of a summary: the median, and the most.
MEDIAN, LIMIT = 110, 256
BATCHES = (16, 64, 256)
#: Rows that the fixed part of a step costs as much as. `inf`: it costs the same at any number of rows.
FIXED = (0.0, 16.0, 64.0, 256.0, math.inf)


def static(lengths: Sequence[int], batch: int) -> tuple[int, int]:
    """Return the steps, and the rows of all steps, where a batch is computed until its last row has ended."""
    batches = [lengths[i : i + batch] for i in range(0, len(lengths), batch)]
    return sum(max(b) for b in batches), sum(max(b) * len(b) for b in batches)


def dropping(lengths: Sequence[int], batch: int) -> tuple[int, int]:
    """Return the same where ended rows are dropped once they are a share of the batch."""
    steps = row_steps = 0
    for i in range(0, len(lengths), batch):
        left = sorted(lengths[i : i + batch])
        kept, ended = len(left), 0
        for step in range(left[-1]):
            while left[ended] <= step:
                ended += 1
            if kept - (len(left) - ended) >= COMPACT_AT * kept:
                kept = len(left) - ended
            steps, row_steps = steps + 1, row_steps + kept
    return steps, row_steps


def refilling(lengths: Sequence[int], batch: int) -> tuple[int, int]:
    """Return the same where the next input takes the slot of a row that has ended."""
    ends: list[int] = []
    for length in lengths:
        began = heapq.heappop(ends) if len(ends) == batch else 0
        heapq.heappush(ends, began + length)
    return max(ends), sum(lengths)


def cost(steps: int, row_steps: int, fixed: float) -> float:
    """Return what steps cost, in rows."""
    return steps if math.isinf(fixed) else row_steps + fixed * steps


def main() -> None:
    """Print a table, and write out/refill.json."""
    lengths = draw_lengths(4096 * 5, 0, MEDIAN, LIMIT)
    table = Table("batch", "a step's fixed cost", "dropping saves", "refilling saves of the rest")
    found = []
    for batch in BATCHES:
        for fixed in FIXED:
            costs = [cost(*policy(lengths, batch), fixed) for policy in (static, dropping, refilling)]
            saved = [1 - costs[1] / costs[0], 1 - costs[2] / costs[1]]
            table.add_row(str(batch), f"{fixed:g} rows", *(f"{share:.0%}" for share in saved))
            found.append({"batch": batch, "fixed": str(fixed), "dropping": saved[0], "refilling": saved[1]})
    Console(width=120).print(table)
    write_results("refill", found)


if __name__ == "__main__":
    main()
