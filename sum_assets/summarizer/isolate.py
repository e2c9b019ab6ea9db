"""Finds the abstract that an engine fails on, so that its neighbours are summarized."""

from collections.abc import Callable, Iterator, Sequence

from sum_assets.errors import DeviceLostError, EngineFaultError, UserError
from sum_assets.summarizer.device_errors import is_device_lost, named
from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.types import Abstract, Rejection, Summarizer, Summary
from sum_assets.summarizer.watchdog import watched

Results = Iterator[list[Summary | Rejection]]
OnHang = Callable[[list[int]], object]
#: What any engine can summarize. Where it fails on this, it is not the abstract's fault.
_PLAIN = Abstract(-1, "Cells divide. We counted them for a year and found that they divide faster in spring.")


def summarize_each(
    engine: Summarizer, abstracts: Sequence[Abstract], phases: Phases, on_hang: OnHang = lambda _: None
) -> Results:
    """Yield what the engine yields, and each abstract exactly once, whatever the engine does.

    What the engine fails on or does not return is tried again batch by batch, then by halves, then alone, twice;
    what still fails is rejected as `engine_error`. Raises EngineFaultError where the engine fails on any text, and
    DeviceLostError at once where the device is gone: this process cannot use it any more. Where the engine hangs, a
    thread hands `on_hang` the IDs that are left, and ends the process.
    """
    left = {a.abstract_id: a for a in abstracts}
    yield from _attempt(engine, left, phases, [], on_hang)
    rows = sorted(left.values(), key=lambda a: (-len(a.text), a.abstract_id))  # as engines sort them, longest first
    size = max(1, engine.state().batch_size)
    for start in range(0, len(rows), size):
        yield from _settle(engine, rows[start : start + size], phases, on_hang)


def _settle(engine: Summarizer, rows: Sequence[Abstract], phases: Phases, on_hang: OnHang) -> Results:
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
            yield from _settle(engine, part, phases, on_hang)
        return
    require_working(engine)
    detail = failures[-1] if failures else "the engine returned nothing for it"
    yield [Rejection(rest[0].abstract_id, "engine_error", detail)]


def _attempt(
    engine: Summarizer, left: dict[int, Abstract], phases: Phases, failures: list[str], on_hang: OnHang
) -> Results:
    """Yield what the engine makes of those left, and take it out of them; keep what ended it."""
    results = engine.summarize(list(left.values()), phases)
    while True:
        try:
            with watched(lambda: on_hang(list(left))):
                finished = next(results, None)
        except (UserError, EngineFaultError):
            raise
        except Exception as error:
            if is_device_lost(error):
                raise _lost(error) from error
            failures.append(named(error))  # not the error: it holds on to tensors
            return
        if finished is None:
            return
        new = [result for result in finished if left.pop(result.abstract_id, None)]
        if new:
            yield new


def require_working(engine: Summarizer) -> None:
    """Raise EngineFaultError unless the engine summarizes a plain sentence."""
    try:
        with watched(lambda: None):
            if any(engine.summarize([_PLAIN], Phases())):
                return
        said = "it returns nothing"
    except UserError:
        raise
    except Exception as error:
        if is_device_lost(error):
            raise _lost(error) from error
        raise EngineFaultError(_broken(named(error))) from error
    raise EngineFaultError(_broken(said))


def _broken(said: str) -> str:
    return f"The engine fails even on a plain sentence: {said}. No abstract was rejected for it; run this again."


def _lost(error: Exception) -> DeviceLostError:
    return DeviceLostError(
        f"The device is lost to this process: {named(error)}. Run this again, in a fresh process: it goes on "
        "where it stopped. If it happens again, look at the driver's log (`dmesg`, `nvidia-smi`)."
    )
