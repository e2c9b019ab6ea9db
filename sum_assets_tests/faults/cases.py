"""The registry of the cases, and what they share. A case disturbs a run, resumes it, and returns the comparison."""

import time
from collections.abc import Callable
from typing import Any

from sum_assets_tests.faults.command import Run
from sum_assets_tests.faults.sandbox import BATCH, Sandbox, Tally

Case = Callable[[Sandbox, int], Tally]
CASES: dict[str, Case] = {}
#: The cases that run SEEDS times.
SEEDED: set[str] = set()
#: The cases that the tests run, once each.
SHORT: set[str] = set()
#: Seconds between two batches, so that a run can be hit in the middle.
PAUSE = 0.08
#: What a kill costs where each batch is committed at once: one in flight, one that waits, one that is being committed.
UNCOMMITTED = 3 * BATCH


def case(name: str, *, seeded: bool = False, short: bool = False) -> Callable[[Case], Case]:
    """Return a decorator that registers a case."""

    def register(function: Case) -> Case:
        CASES[name] = function
        SEEDED.update({name} if seeded else ())
        SHORT.update({name} if short else ())
        return function

    return register


def with_op(config: dict[str, Any], **values: object) -> dict[str, Any]:
    """Return a configuration with values for the asset `summaries`."""
    return config | {"ops": {"summaries": {"config": values}}}


def copier(sandbox: Sandbox, **gpu: object) -> dict[str, Any]:
    """Return a configuration of the small T5."""
    summarizer = {"model": str(sandbox.server.model), "prompt": "", "max_input_tokens": 64, "max_output_tokens": 16}
    values = {"device": "cpu", "precision": "float32", "batch_size": BATCH, **gpu}
    return {"resources": {"gpu": {"config": values}, "summarizer": {"config": summarizer}}}


def check(tally: Tally, again: int) -> Tally:
    """Return the tally. Raises AssertionError if more than `again` abstracts were generated again."""
    assert tally.generated_again <= again, f"{tally.generated_again} generated again, at most {again} were in flight"
    return tally


def clear_failure(run: Run, message: str, seconds: float = 90) -> None:
    """Require that the run fails within some seconds with the message and no traceback."""
    code = run.wait(seconds)
    assert code == 1, run.output[-3000:]
    assert message in run.output, run.output[-3000:]
    assert "Traceback" not in run.output.rpartition("Error:")[2], run.output[-3000:]


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition. Raises AssertionError, with `what` it is, if it takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)
