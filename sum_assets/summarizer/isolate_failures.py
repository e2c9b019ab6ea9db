"""Isolates the abstract that an engine fails on, by bisection, so that its neighbors are summarized."""

from collections.abc import Callable, Iterator, Sequence

from sum_assets.errors import DeviceLostError, EngineFaultError, UserError
from sum_assets.summarizer.device_errors import describe_error, is_device_lost
from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.types import Abstract, Rejection, Summarizer, Summary
from sum_assets.summarizer.watchdog import watchdog

Results = Iterator[list[Summary | Rejection]]
OnHang = Callable[[list[int]], object]
#: A text that any engine can summarize. If an engine fails on it, the engine is to blame and no abstract is.
CANARY = Abstract(-1, "Cells divide. We counted them for a year and found that they divide faster in spring.")


def summarize_each(
    engine: Summarizer, abstracts: Sequence[Abstract], phases: Phases, on_hang: OnHang = lambda _: None
) -> Results:
    """Yield the results of an engine, each abstract exactly once, even if the engine fails or leaves some out.

    Abstracts that the engine fails on, or does not return, are tried again in batches. A batch that fails is bisected
    down to single abstracts. Each of these is tried twice, and rejected as `engine_error` if it still fails. Raises
    EngineFaultError if the engine fails even on the canary. Raises DeviceLostError at once if the device is lost,
    since this process can no longer use it. If the engine hangs, the watchdog passes the IDs that are left to
    `on_hang` and ends the process.
    """
    left = {a.abstract_id: a for a in abstracts}
    yield from _attempt(engine, left, phases, [], on_hang)
    # Longest first, as engines sort them.
    rows = sorted(left.values(), key=lambda a: (-len(a.text), a.abstract_id))
    size = max(1, engine.state().batch_size)
    for start in range(0, len(rows), size):
        yield from _bisect(engine, rows[start : start + size], phases, on_hang)


def _bisect(engine: Summarizer, rows: Sequence[Abstract], phases: Phases, on_hang: OnHang) -> Results:
    """Yield the results of a batch. If it fails, try each half; a single abstract that fails twice is rejected."""
    left = {a.abstract_id: a for a in rows}
    failures: list[str] = []
    yield from _attempt(engine, left, phases, failures, on_hang)
    if left and len(rows) == 1:
        yield from _attempt(engine, left, phases, failures, on_hang)
    if not left:
        return
    rest = list(left.values())
    if len(rows) > 1:
        half = (len(rest) + 1) // 2
        for part in filter(None, (rest[:half], rest[half:])):
            yield from _bisect(engine, part, phases, on_hang)
        return
    health_check(engine)
    detail = failures[-1] if failures else "the engine returned nothing for it"
    yield [Rejection(rest[0].abstract_id, "engine_error", detail)]


def _attempt(
    engine: Summarizer, left: dict[int, Abstract], phases: Phases, failures: list[str], on_hang: OnHang
) -> Results:
    """Yield results, and remove their abstracts from `left`. Append the error that ended it to `failures`."""
    results = engine.summarize(list(left.values()), phases)
    while True:
        try:
            with watchdog(lambda: on_hang(list(left))):
                finished = next(results, None)
        except (UserError, EngineFaultError):
            raise
        except Exception as error:
            if is_device_lost(error):
                raise _lost(error) from error
            failures.append(describe_error(error))  # not the error itself, which references tensors
            return
        if finished is None:
            return
        new = [result for result in finished if left.pop(result.abstract_id, None)]
        if new:
            yield new


def health_check(engine: Summarizer) -> None:
    """Raise EngineFaultError unless the engine summarizes the canary, and DeviceLostError if the device is lost."""
    try:
        with watchdog(lambda: None):
            if any(engine.summarize([CANARY], Phases())):
                return
        reason = "it returns nothing"
    except UserError:
        raise
    except Exception as error:
        if is_device_lost(error):
            raise _lost(error) from error
        raise EngineFaultError(_broken(describe_error(error))) from error
    raise EngineFaultError(_broken(reason))


def _broken(reason: str) -> str:
    return f"The engine fails even on a plain sentence: {reason}. No abstract was rejected for it. Run this again."


def _lost(error: Exception) -> DeviceLostError:
    return DeviceLostError(
        f"The device is lost to this process: {describe_error(error)}. Run this again, in a fresh process: it resumes "
        "where it stopped. If it happens again, look at the driver's log (`dmesg`, `nvidia-smi`)."
    )
