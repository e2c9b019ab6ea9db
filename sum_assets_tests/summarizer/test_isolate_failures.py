"""A row that an engine fails on costs that row alone."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pytest

from sum_assets.errors import DeviceLostError, EngineFaultError, UserError
from sum_assets.summarizer import Abstract, EngineState, Phases, Rejection, Summary
from sum_assets.summarizer.isolate_failures import summarize_each

BAD = {7: "raise", 23: "nothing", 31: "raise"}


class Brittle:
    """Yields batches of four in order; fails on some rows, on all after `good` rows, or with a given error."""

    def __init__(self, error: Exception | None = None, good: int = 10**6) -> None:
        self.error, self.good, self.calls, self.rows = error, good, 0, 0

    def prepare(self, abstracts: Sequence[Abstract]) -> None:
        pass

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        waiting = iter(abstracts)
        while batch := list(islice(waiting, 4)):
            self.calls += 1
            self.rows += len(batch)
            if self.rows > self.good or any(BAD.get(a.abstract_id) == "raise" for a in batch):
                raise self.error or ValueError("bad row\nand more")
            yield [
                Summary(a.abstract_id, a.text, 1, 1, False, "stop")
                for a in batch
                if BAD.get(a.abstract_id) != "nothing"
            ]

    def state(self) -> EngineState:
        return EngineState("", 4, 0, None)


def results(engine: Brittle, ids: Iterable[int]) -> list[Summary | Rejection]:
    return [r for one in summarize_each(engine, [Abstract(i, f"text {i}") for i in ids], Phases()) for r in one]


def test_the_row_is_rejected_and_its_neighbors_are_summarized() -> None:
    engine = Brittle()
    outcomes = results(engine, range(64))
    assert sorted(r.abstract_id for r in outcomes) == list(range(64)), "each exactly once"
    rejected = {r.abstract_id: (r.reason, r.detail) for r in outcomes if isinstance(r, Rejection)}
    assert rejected == {
        7: ("engine_error", "ValueError: bad row"),
        23: ("engine_error", "the engine returned nothing for it"),
        31: ("engine_error", "ValueError: bad row"),
    }
    assert engine.calls < 50, "in halves, not one by one"


def test_a_fault_that_passes_costs_no_row() -> None:
    engine = Brittle(good=10)
    lists = summarize_each(engine, [Abstract(i, "text") for i in range(40, 56)], Phases())
    first = next(lists), next(lists)
    with pytest.raises(EngineFaultError, match="The engine fails even on a plain sentence: ValueError: bad row"):
        next(lists)
    assert [len(one) for one in first] == [4, 4]


def test_an_engine_that_fails_on_all_blames_no_row() -> None:
    engine = Brittle(good=0)
    with pytest.raises(EngineFaultError, match="No abstract was rejected"):
        results(engine, [1])


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered\nCUDA kernel errors might be",
        "CUDA error: unspecified launch failure",
        "NCCL: uncorrectable ECC error encountered",
    ],
)
def test_a_lost_device_ends_the_process_at_once(message: str) -> None:
    engine = Brittle(RuntimeError(message))
    with pytest.raises(DeviceLostError, match="Run this again, in a fresh process"):
        results(engine, [1, 2, 7])
    assert engine.calls == 1, "it is not touched again"


HANGING = """
import time
from sum_assets.summarizer import Abstract, Phases, Rejection, watchdog
from sum_assets.summarizer.isolate_failures import summarize_each

class Hangs:
    def summarize(self, abstracts, phases):
        yield [Rejection(a.abstract_id, "none", "") for a in abstracts[:2]]
        time.sleep(60)

watchdog.HANG_LIMIT = 0.3
for finished in summarize_each(Hangs(), [Abstract(i, "text") for i in range(5)], Phases(), print):
    time.sleep(0.5)  # what is done with a batch is no hang
"""


def test_a_hang_is_noted_and_ends_the_process() -> None:
    ran = subprocess.run([sys.executable, "-uc", HANGING], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout) == (1, "[2, 3, 4]\n"), ran.stderr
    assert "The engine finished nothing for 0 s: it hangs" in ran.stderr
    assert "in summarize\n" in ran.stderr, "where each thread is"


def test_what_a_user_must_fix_is_passed_on() -> None:
    with pytest.raises(UserError, match="fix"):
        results(Brittle(UserError("fix")), [7])


class Rejecting:
    """Yields batches of four; rejects some rows for a reason, and the canary too where it is `broken`."""

    def __init__(self, reason: str, bad: Iterable[int], *, broken: bool = False) -> None:
        self.reason, self.bad, self.seen = reason, {*bad, *([-1] if broken else [])}, 0

    def prepare(self, abstracts: Sequence[Abstract]) -> None:
        pass

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        waiting = iter(abstracts)
        while batch := list(islice(waiting, 4)):
            self.seen += len(batch)
            yield [
                Rejection(a.abstract_id, self.reason, "why")
                if a.abstract_id in self.bad
                else Summary(a.abstract_id, a.text, 1, 1, False, "stop")
                for a in batch
            ]

    def state(self) -> EngineState:
        return EngineState("", 4, 0, None)


@pytest.mark.parametrize("reason", ["not_a_number", "empty_summary"])
@pytest.mark.parametrize("bad", [range(12), range(5, 9)])
def test_what_the_model_does_on_some_rows_costs_these_rows(reason: str, bad: Iterable[int]) -> None:
    outcomes = results(Rejecting(reason, bad), range(64))  # type: ignore[arg-type]
    assert sorted(r.abstract_id for r in outcomes) == list(range(64)), "each exactly once"
    assert {r.abstract_id: r.reason for r in outcomes if isinstance(r, Rejection)} == dict.fromkeys(bad, reason)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("not_a_number", "NaN even on a plain sentence, so that no abstract is to blame: why"),
        ("empty_summary", "writes nothing on the first 8 abstracts, nor on a plain sentence"),
    ],
)
def test_what_the_model_does_on_every_row_is_its_own_fault(reason: str, message: str) -> None:
    engine = Rejecting(reason, range(64), broken=True)
    with pytest.raises(UserError, match=message):
        results(engine, range(64))  # type: ignore[arg-type]
    assert engine.seen < 16, "it is seen at once"


def test_nan_on_many_rows_is_no_fault_of_theirs() -> None:
    with pytest.raises(UserError, match="NaN on more than 20 of 64 abstracts, though not on a plain sentence: why"):
        results(Rejecting("not_a_number", range(30, 60)), range(64))  # type: ignore[arg-type]
