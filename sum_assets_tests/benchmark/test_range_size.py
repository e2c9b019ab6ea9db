"""How large a range the report advises."""

import pytest

from sum_assets.backfill_time import Backfill
from sum_assets.benchmark.projection import Projection
from sum_assets.benchmark.range_size import advise_rows


@pytest.mark.parametrize(
    ("rows", "per_second", "advice"),
    [
        (3_680_000, 15, "--rows 54000` makes ranges of an hour each."),
        (3_680_000, 1 / 13.7, "--rows 1200` makes ranges of 4.6 hours each."),  # else it were 14,000 ranges
        (3_680_000, 4_100, "--rows 74000` makes ranges of 18 seconds each."),  # else it were a single one
        (12, 0.001, "--rows 1` makes ranges of 16.7 minutes each."),
    ],
)
def test_a_range_takes_an_hour_unless_there_were_too_many_or_too_few(rows: int, per_second: float, advice: str) -> None:
    backfill = Backfill(rows / per_second, 7, load_seconds=60)
    projection = Projection(rows, backfill, {}, backfill.seconds, None, None, 0, 0)
    assert advise_rows(projection) == f"`sum-assets ranges {advice}"
