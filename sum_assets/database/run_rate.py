"""How fast runs go through the corpus, and when they will be through."""

import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection

from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange

#: A longer time without any run is not counted as time of work: a benchmark takes it, or the gate before a first run.
#: Between two runs of a backfill it is shorter, even where loading the model takes minutes.
LONGEST_GAP = timedelta(minutes=5)
#: The fewest ranges that an interval is given for, and Student's t for it (97.5 %, 9 degrees of freedom).
_FEWEST, _T = 10, 2.26


@dataclass(frozen=True, slots=True)
class RunRate:
    """What the runs of the last hour of work did: `ranges` with `rows` abstracts, in `seconds`, several at once or not.

    `spread` is the standard deviation of a range's seconds per abstract over their mean, None for few ranges.
    `busy` are the seconds of each range by itself, summed up; `fingerprint` is what all were made under.
    """

    ranges: int
    rows: int
    seconds: float
    spread: float | None
    busy: float
    fingerprint: str

    @property
    def per_second(self) -> float:
        """Abstracts per second, by the clock on the wall: the start of runs and the publication are part of it."""
        return self.rows / self.seconds

    @property
    def per_second_of_a_run(self) -> float:
        """Abstracts per second of one run within a range, whatever goes on beside it."""
        return self.rows / self.busy

    def seconds_for(self, rows: int) -> tuple[float, float, float]:
        """Return the seconds that so many more abstracts take, and their 95 % interval.

        Without a spread, all three are the same. The interval is that of a sum of ranges like those that were seen.
        """
        seconds = rows / self.per_second
        if not rows or self.spread is None:
            return seconds, seconds, seconds
        to_come = max(1.0, rows / (self.rows / self.ranges))
        error = min(0.9, _T * self.spread * (1 / self.ranges + 1 / to_come) ** 0.5)
        return seconds, seconds * (1 - error), seconds * (1 + error)


def record_range_run(
    connection: Connection,
    id_range: IdRange,
    fingerprint: str,
    run_id: str,
    rows: int,
    seconds: float,
    *,
    is_pilot: bool = False,
) -> None:
    """Record that a run has just ended with a range, on which it worked for some seconds."""
    connection.execute(
        "INSERT INTO sum_assets.range_run (fingerprint, lo, hi, run_id, rows, began_at, is_pilot) "
        "VALUES (%s, %s, %s, %s, %s, clock_timestamp() - make_interval(secs => %s), %s)",
        [fingerprint, id_range.lo, id_range.hi, run_id, rows, seconds, is_pilot],
    )


def recent_rate(connection: Connection) -> RunRate | None:
    """Return the rate of the last hour of work under the newest fingerprint, of pilots where there is nothing else.

    It is None where there was none.
    """
    worked: list[tuple[int, datetime, datetime]] = []
    newest = connection.execute(statement("range_run_recent")).fetchall()
    for _, rows, began, ended in newest:
        if worked and ended < min(b for _, b, _ in worked) - LONGEST_GAP:
            break
        worked.append((rows, began, ended))
    if not worked:
        return None
    seconds = (worked[0][2] - min(began for _, began, _ in worked)).total_seconds()
    each = [(ended - began).total_seconds() / rows for rows, began, ended in worked]
    spread = statistics.stdev(each) / statistics.mean(each) if len(each) >= _FEWEST else None
    total = sum(rows for rows, _, _ in worked)
    busy = sum((ended - began).total_seconds() for _, began, ended in worked)
    return RunRate(len(worked), total, max(seconds, 1e-3), spread, max(busy, 1e-3), newest[0][0])
