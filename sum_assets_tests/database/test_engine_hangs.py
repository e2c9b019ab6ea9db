"""What an engine hung on is known to the process after it, and tried apart."""

from psycopg import Connection

from sum_assets.abstract import Abstract
from sum_assets.database.engine_hangs import GROUP_SIZE, Suspect, chunks, forget_hangs, record_hang, suspects
from sum_assets.database.publish import discard
from sum_assets.database.results import ResultStore
from sum_assets.id_range import IdRange

ROWS = [Abstract(i, f"text {i}", bytes([i])) for i in range(5)]


def test_a_row_is_to_blame_that_hung_alone_and_before(database: Connection) -> None:
    store = ResultStore("f", "r")
    store.register(database, {})
    for rows in (ROWS, ROWS[2:4], ROWS[3:4]):
        record_hang(database, store, rows)
    suspected = suspects(database, store, [2, 3, 4, 5])
    assert suspected == {
        2: Suspect(2, b"\2", 2, 2),
        3: Suspect(3, b"\3", 1, 3),
        4: Suspect(4, b"\4", 5, 1),
    }
    assert [i for i, suspect in suspected.items() if suspect.to_blame] == [3]
    assert suspects(database, ResultStore("other", "r"), [3]) == {}
    forget_hangs(database, store, IdRange(0, 3))
    assert list(suspects(database, store, [2, 3, 4])) == [4]
    discard(database, "f")
    assert suspects(database, store, [4]) == {}


def test_an_edited_row_is_tried_again(database: Connection) -> None:
    store = ResultStore("f", "r")
    store.register(database, {})
    record_hang(database, store, ROWS[3:4])
    record_hang(database, store, [Abstract(3, "edited", b"new")])
    assert suspects(database, store, [3]) == {3: Suspect(3, b"new", 1, 1)}


def test_suspects_come_last_and_apart() -> None:
    suspected = {i: Suspect(i, b"", 40, 1) for i in range(40, 80)} | {i: Suspect(i, b"", GROUP_SIZE, 2) for i in (3, 4)}
    cut = list(chunks(range(150), suspected, 50))
    assert [len(chunk) for chunk in cut] == [50, 50, 8, 16, 16, 8, 1, 1]
    assert sorted(i for chunk in cut for i in chunk) == list(range(150))
    assert cut[-2:] == [[3], [4]]
