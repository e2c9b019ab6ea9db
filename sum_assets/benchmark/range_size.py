"""Advises how many abstracts an ID range is to hold.

A kill costs seconds of work however long a range is. Its length only decides how often the UI shows a new partition,
and how many partitions there are.
"""

from sum_assets.benchmark.projection import Projection
from sum_assets.units import duration

#: Seconds that a range is to take: a partition an hour shows how a run goes.
_USUAL = 3600.0
#: Dagster's pages stay quick up to some thousands of partitions. With few, devices wait for the last one.
_MOST, _FEWEST = 3_000, 50


def advise_rows(projection: Projection) -> str:
    """Return the command that cuts ranges of the advised size, and how long each takes."""
    seconds = projection.rows / projection.per_second
    share = min(max(_USUAL / seconds, 1 / _MOST), 1 / _FEWEST)
    rows = max(1, int(float(f"{projection.rows * share:.2g}")))
    each = rows / projection.per_second
    length = "an hour" if round(each / _USUAL, 1) == 1 else duration(each / 86400)
    return f"`sum-assets ranges --rows {rows}` makes ranges of {length} each."
