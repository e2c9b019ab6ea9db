"""While a batch is handed on, a thread generates the next one."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sum_assets.summarizer.engines.look_ahead import look_ahead


@pytest.fixture(scope="module")
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_the_next_item_is_fetched_while_one_is_handed_on(thread: ThreadPoolExecutor) -> None:
    begun = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(begun):
            assert threading.current_thread() is not threading.main_thread()
            event.set()
            yield number

    taken = []
    for item in look_ahead(items(), thread):
        taken.append(item)
        assert all(event.wait(60) for event in begun[: item + 2])
    assert taken == [0, 1, 2]


def test_an_error_comes_after_what_was_finished(thread: ThreadPoolExecutor) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the device is out of memory")

    results = look_ahead(items(), thread)
    assert next(results) == 1
    with pytest.raises(ValueError, match="out of memory"):
        next(results)


def test_who_stops_waits_for_the_batch_in_flight(thread: ThreadPoolExecutor) -> None:
    steps: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        begun.set()
        go_on.wait(60)
        steps.append("second batch")
        yield 2

    results = look_ahead(items(), thread)
    next(results)
    begun.wait(60)
    threading.Timer(0.1, go_on.set).start()
    del results  # as a consumer that raises does
    assert steps == ["second batch"]
