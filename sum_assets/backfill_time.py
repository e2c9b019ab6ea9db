"""How long a backfill takes: its abstracts, and what its runs and ID ranges take beside them."""

import math
from dataclasses import dataclass

#: Seconds that a run of a backfill is to last: its own start, and the loading of the model, are some seconds.
RUN_SECONDS = 300.0
#: Seconds from the launch of a run to the loading of the model, and from its last commit to its end.
START_SECONDS, FINISH_SECONDS = 20.0, 8.0
#: Seconds that an ID range takes beside its abstracts, for profile, counts, publication and events: measured, see
#: docs/evidence/full-corpus.md.
RANGE_SECONDS = 0.25
#: The same for a range of `sum-assets work`, whose run is its own: measured, see docs/explanation/workers.md.
WORK_RANGE_SECONDS = 0.8
#: Abstracts of an ID range where the corpus is not cut into ranges yet.
ROWS_PER_RANGE = 10_000


def ranges_in_run(seconds_per_range: float, ranges: int, runs_at_once: int = 1) -> int:
    """Return how many ranges fill `RUN_SECONDS`. There are at least as many runs as may run at once."""
    fitting = round(RUN_SECONDS / max(seconds_per_range, 1e-3))
    return max(1, min(fitting, math.ceil(ranges / runs_at_once)))


def ranges_as_large(rows: int, of_rows: int, of_ranges: int) -> int:
    """Return how many ranges hold so many abstracts if they are as large as others, and of 10,000 at least."""
    return math.ceil(rows / max(of_rows / of_ranges, ROWS_PER_RANGE))


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill whose runs follow upon each other, each over as many ranges as fill some minutes.

    `working` are the seconds for the abstracts of all ranges, `load_seconds` those that each run loads the model, and
    `start_seconds` those from its launch to the loading.
    """

    working: float
    ranges: int
    load_seconds: float
    start_seconds: float = START_SECONDS

    @property
    def ranges_per_run(self) -> int:
        """How many ranges a run takes."""
        return ranges_in_run(self.working / self.ranges, self.ranges)

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return math.ceil(self.ranges / self.ranges_per_run)

    @property
    def run_seconds(self) -> float:
        """Seconds that each run takes beside its ranges."""
        return self.start_seconds + self.load_seconds + FINISH_SECONDS

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return self.working + self.runs * self.run_seconds + self.ranges * RANGE_SECONDS
