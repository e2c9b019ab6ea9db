"""Two runs on the same IDs: one works, the other says who does."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from psycopg import Connection

from sum_assets.abstract import Summary
from sum_assets.database import range_lease as leases
from sum_assets.database.processes import process_start
from sum_assets.database.range_lease import holders, range_lease
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.results import ResultStore
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

RANGE = IdRange(1, 10)


@pytest.fixture
def ours(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


def test_a_range_is_one_runs_alone(ours: Database, database: Connection) -> None:
    with range_lease(ours, RANGE, "first"), range_lease(ours, IdRange(11, 20), "second"):
        for overlapping in (RANGE, IdRange(10, 12), IdRange(0, 99)):
            with (
                pytest.raises(UserError, match=r"being worked on by run (first|second) on .* \(process \d+\) since 2"),
                range_lease(ours, overlapping, "third"),
            ):
                pass
        assert [(h.run_id, h.alive) for h in holders(database)] == [("first", True), ("second", True)]
    assert holders(database) == []


def test_a_failed_run_says_so_and_holds_nothing(ours: Database, database: Connection) -> None:
    with pytest.raises(ValueError, match="no"), range_lease(ours, RANGE, "first"):
        raise ValueError("no\nmore")
    (left,) = holders(database)
    assert (left.failure, left.alive) == ("no", False)
    with range_lease(ours, RANGE, "second"):
        assert [h.run_id for h in holders(database)] == ["second"]


def test_the_dead_hold_nothing_and_a_run_gets_back_its_own(ours: Database, database: Connection) -> None:
    with range_lease(ours, RANGE, "first"), range_lease(ours, RANGE, "first"):
        assert len(holders(database)) == 1
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = process_start(process.pid)
    with range_lease(ours, RANGE, "first"):
        assert process_start(process.pid) == born
        database.execute("UPDATE sum_assets.range_lease SET pid = %s, process_start = %s", [process.pid, born])
        with pytest.raises(UserError, match="being worked on by run first"), range_lease(ours, RANGE, "second"):
            pass
        process.kill()
        assert process_start(process.pid) in (None, born)
        while process_start(process.pid) is not None:  # it is a zombie soon, since nobody has waited for it
            pass
        with range_lease(ours, RANGE, "second"):
            assert [h.run_id for h in holders(database)] == ["second"]
    process.wait()


def test_elsewhere_a_lease_ends_when_it_is_not_renewed(
    ours: Database, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.05)
    store = ResultStore("f", "first")
    store.register(database, {})
    with range_lease(ours, RANGE, "first") as lease:
        database.execute("UPDATE sum_assets.range_lease SET boot_id = 'elsewhere', renewed_at = 'epoch'")
        for _ in range(100):
            if holders(database)[0].alive:
                break
            database.execute("SELECT pg_sleep(0.02)")
        assert holders(database)[0].alive, "the heart beats"
        monkeypatch.setattr(leases, "EXPIRY", -1.0)
        with range_lease(ours, RANGE, "second"):
            monkeypatch.setattr(leases, "EXPIRY", 90.0)
            summary = Summary(1, "s", 1, 1, False, "stop")
            with pytest.raises(UserError, match="was taken over by another run: run second on"):
                store.write(database, [summary], {1: b""}, lease)
    assert database.execute("SELECT count(*) FROM sum_assets.generated_summary").fetchone() == (0,)
    assert holders(database) == []


def test_the_first_of_two_wins(ours: Database, database: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other looks before the first has committed."""
    real = leases.holders
    looks: Iterator[list[leases.Holder] | None] = iter([[], None])

    def blind(connection: Connection, id_range: IdRange | None = None) -> list[leases.Holder]:
        seen = next(looks)
        return real(connection, id_range) if seen is None else seen

    with range_lease(ours, RANGE, "first"):
        monkeypatch.setattr(leases, "holders", blind)
        with pytest.raises(UserError, match="being worked on by run first"), range_lease(ours, RANGE, "second"):
            pass
