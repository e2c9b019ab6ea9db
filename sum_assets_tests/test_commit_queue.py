"""What is put into a commit queue is committed once, in order, soon; its errors reach who put it there."""

import threading
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sum_assets import commit_queue
from sum_assets.commit_queue import CommitQueue


@given(lists=st.lists(st.lists(st.integers(), max_size=9), max_size=30), size=st.integers(1, 7))
def test_every_row_is_committed_once_and_in_order(lists: list[list[int]], size: int) -> None:
    commits: list[Sequence[int]] = []
    with pytest.MonkeyPatch.context() as patch, CommitQueue(commits.append) as queue:
        patch.setattr(commit_queue, "COMMIT_ROWS", size)
        for rows in lists:
            queue.put(rows)
        queue.flush()
        assert [row for commit in commits for row in commit] == [row for rows in lists for row in rows]
        assert all(0 < len(commit) <= size for commit in commits)


def test_few_rows_are_committed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_queue, "COMMIT_SECONDS", 0.05)
    committed = threading.Event()
    with CommitQueue[int](lambda _: committed.set()) as queue:
        queue.put([1])
        assert committed.wait(10)


@pytest.mark.parametrize(("rows", "seconds"), [(1, 60.0), (1000, 0.0)])
def test_a_commit_that_takes_long_holds_up_nobody_until_another_is_due(
    rows: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_queue, "COMMIT_ROWS", rows)
    monkeypatch.setattr(commit_queue, "COMMIT_SECONDS", seconds)
    begun, goes_on = threading.Event(), threading.Event()
    put: list[int] = []

    def commit(_: Sequence[int]) -> None:
        begun.set()
        goes_on.wait(10)

    with CommitQueue(commit) as queue:
        queue.put([0])
        assert begun.wait(10)

        def put_more() -> None:
            for row in (1, 2, 3):
                queue.put([row])
                put.append(row)

        thread = threading.Thread(target=put_more)
        thread.start()
        thread.join(0.1)
        assert put == [1]
        goes_on.set()
        thread.join(10)
    assert put == [1, 2, 3]


def test_what_was_put_before_an_error_is_committed() -> None:
    commits: list[Sequence[int]] = []

    def fail() -> None:
        with CommitQueue(commits.append) as queue:
            queue.put([1, 2])
            raise ValueError("of the engine")

    with pytest.raises(ValueError, match="of the engine"):
        fail()
    assert commits == [[1, 2]]


@pytest.mark.parametrize("then", ["put", "flush", "nothing"])
def test_an_error_of_a_commit_is_raised_once_and_ends_it(then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_queue, "COMMIT_ROWS", 1)
    commits: list[Sequence[int]] = []

    def commit(rows: Sequence[int]) -> None:
        commits.append(rows)
        raise KeyError("of the database")

    def put() -> None:
        with CommitQueue(commit) as queue:
            queue.put([1])
            if then == "put":
                queue.put([2])
                queue.put([3])
            elif then == "flush":
                queue.flush()

    with pytest.raises(KeyError, match="of the database"):
        put()
    assert commits == [[1]]
