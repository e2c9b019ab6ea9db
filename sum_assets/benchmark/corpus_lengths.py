"""The corpus that a projection is made for: how many abstracts, how long they are, in how many ID ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection

from sum_assets.backfill_time import ROWS_PER_RANGE, ranges_as_large
from sum_assets.database.ranges import no_abstracts
from sum_assets.database.source import count_source
from sum_assets.database.source_profile import DRAWN, FRACTIONS, Lengths, recorded_lengths, source_lengths
from sum_assets.read_ahead import WINDOW

_POINTS = 256  # at which each range's lengths are interpolated


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is to be summarized: `rows` abstracts that have a text.

    `characters` are those of evenly spaced ones, the shortest first. `ranges` is the number of ID ranges.
    `lengths_from` says in words how the lengths are known.
    """

    rows: int
    characters: NDArray[np.float64]
    ranges: int
    lengths_from: str

    def scaled(self, rows: int) -> "Corpus":
        """Return a corpus of another size with the same lengths, in ranges as large, and of 10,000 at least."""
        ranges = ranges_as_large(rows, self.rows, self.ranges)
        return Corpus(rows, self.characters, ranges, self.lengths_from)


def read_corpus(connection: Connection, ranges: int) -> Corpus:
    """Return the corpus with its lengths. Raises UserError for an empty one.

    The lengths are those that the asset `abstracts` recorded, if it has seen all rows. Otherwise they are read
    from the source now, those of a large one from a sample. `ranges` is the number of ID ranges; 0 assumes 10,000
    abstracts in each.
    """
    rows = count_source(connection)
    lengths = recorded_lengths(connection)
    recorded = sum(p.rows for p in lengths)
    with_text = recorded
    lengths_from = f"lengths recorded by `abstracts` in {len(lengths):,} ID ranges"
    if not 0.99 < recorded / max(rows, 1) < 1.01:  # or more have no text: how many is read, then, too
        lengths = [source_lengths(connection, DRAWN if rows > DRAWN else None)]
        with_text = round(rows * lengths[0].rows / max(lengths[0].read, 1))
        read = f"lengths of {lengths[0].rows:,} abstracts drawn" if rows > DRAWN else "lengths read"
        lengths_from = f"{read} from the source (`abstracts` has recorded {recorded:,} of {rows:,})"
    if not with_text or not lengths[0].percentiles:  # or none has an ID
        raise no_abstracts(connection)
    return Corpus(with_text, mix_lengths(lengths), ranges or math.ceil(rows / ROWS_PER_RANGE), lengths_from)


def mix_lengths(ranges: Sequence[Lengths]) -> NDArray[np.float64]:
    """Return the characters of up to 4,096 evenly spaced abstracts of several ranges, weighted by their rows.

    Between percentiles, lengths are interpolated. The result is sorted, the shortest first.
    """
    places = (np.arange(_POINTS) + 0.5) / _POINTS
    values = np.concatenate([np.interp(places, FRACTIONS, r.percentiles) for r in ranges])
    weights = np.repeat([r.rows / _POINTS for r in ranges], _POINTS)
    order = np.argsort(values)
    share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    count = min(sum(r.rows for r in ranges), WINDOW)
    spaced: NDArray[np.float64] = np.interp((np.arange(count) + 0.5) / count, share, values[order])
    return spaced
