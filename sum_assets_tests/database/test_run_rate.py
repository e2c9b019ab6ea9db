"""How fast runs were, by the wall clock, and how long the rest takes."""

import pytest
from psycopg import Connection

from sum_assets.database.run_rate import RunRate, recent_rate


@pytest.fixture
def configs(database: Connection) -> Connection:
    database.execute("INSERT INTO sum_assets.summarizer_config VALUES ('f', '{}'), ('g', '{}')")
    return database


def ran(database: Connection, began: float, ended: float, rows: int = 100, fingerprint: str = "f") -> None:
    """Record a run that began and ended so many minutes ago."""
    database.execute(
        "INSERT INTO sum_assets.range_run (fingerprint, lo, hi, run_id, rows, began_at, ended_at) "
        "VALUES (%s, 1, 9, 'r', %s, now() - make_interval(secs => %s), now() - make_interval(secs => %s))",
        [fingerprint, rows, began * 60, ended * 60],
    )


def measured(database: Connection) -> tuple[int, int, int]:
    """Return ranges, abstracts and minutes of the rate."""
    rate = recent_rate(database)
    assert rate is not None
    assert rate.spread is None
    return rate.ranges, rate.rows, round(rate.seconds / 60)


def test_nothing_is_said_where_nothing_ran(configs: Connection) -> None:
    assert recent_rate(configs) is None


def test_runs_beside_each_other_count_once_by_the_clock(configs: Connection) -> None:
    for began, ended in ((30, 20), (29, 19), (18, 10), (18, 9)):
        ran(configs, began, ended)
    assert measured(configs) == (4, 400, 21)
    rate = recent_rate(configs)
    assert rate is not None
    assert rate.per_second_of_a_run == pytest.approx(400 / (60 * (10 + 10 + 8 + 9)), rel=1e-4), "each by itself"
    assert rate.fingerprint == "f"


def test_what_is_long_ago_or_under_another_fingerprint_does_not_count(configs: Connection) -> None:
    ran(configs, 100, 90)  # more than an hour before the last
    ran(configs, 50, 45)  # a quarter of an hour in which nothing ran follows
    ran(configs, 30, 20, fingerprint="g")
    ran(configs, 30, 20)
    ran(configs, 19, 10)
    assert measured(configs) == (2, 200, 20)
    ran(configs, 5, 1, fingerprint="g")
    assert measured(configs) == (1, 100, 4), "the newest, g, after a gap"


def test_the_minutes_between_a_pilot_and_the_backfill_after_it_do_not_count(configs: Connection) -> None:
    ran(configs, 21, 20, rows=32)  # a benchmark of eight minutes, and the start of the first run, follow
    ran(configs, 11, 10)
    ran(configs, 9, 8)
    assert measured(configs) == (2, 200, 3)


def test_the_interval_is_as_wide_as_ranges_differ() -> None:
    assert RunRate(9, 900, 90.0, None, 90.0, "f").seconds_for(1000) == (100.0, 100.0, 100.0)
    even, uneven = (RunRate(16, 1600, 160.0, spread, 160.0, "f") for spread in (0.0, 0.5))
    assert even.seconds_for(1000) == (100.0, 100.0, 100.0)
    assert uneven.seconds_for(0) == (0.0, 0.0, 0.0)
    seconds, low, high = uneven.seconds_for(160_000)
    assert seconds == 16_000
    assert seconds - low == pytest.approx(high - seconds)
    assert high / seconds == pytest.approx(1 + 2.26 * 0.5 * (1 / 16 + 1 / 1600) ** 0.5)
    nearly_done = uneven.seconds_for(100)
    assert nearly_done[2] / nearly_done[0] > high / seconds, "one range is less certain than a mean of many"


def test_ten_ranges_have_a_spread(configs: Connection) -> None:
    for minute in range(10):
        ran(configs, 20 - minute, 19 - minute, 100 + 10 * (minute % 2))
    rate = recent_rate(configs)
    assert rate is not None
    assert rate.spread == pytest.approx(0.05, abs=0.01)
