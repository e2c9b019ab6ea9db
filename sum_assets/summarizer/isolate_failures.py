"""Isolates the abstract that an engine fails on, by bisection, so that its neighbors are summarized."""

from collections.abc import Callable, Generator, Iterator, Sequence

from sum_assets.errors import DeviceLostError, EngineFaultError, UserError
from sum_assets.summarizer.device_errors import describe_error, is_device_lost
from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.types import EMPTY, NOT_A_NUMBER, Abstract, Rejection, Summarizer, Summary
from sum_assets.summarizer.watchdog import watchdog

Results = Iterator[list[Summary | Rejection]]
OnHang = Callable[[list[int]], object]
#: A text that any engine can summarize. If an engine fails on it, the engine is to blame and no abstract is.
CANARY = Abstract(-1, "Cells divide. We counted them for a year and found that they divide faster in spring.")

#: Abstracts of one call on which a model may compute NaN by itself. More are a fault of its precision, for example in
#: float16 on long inputs.
MAX_NOT_A_NUMBER = 20
#: Abstracts that get no summary, one after the other, before the canary is asked whether the model writes at all.
MIN_SILENT = 8


def summarize_each(
    engine: Summarizer, abstracts: Sequence[Abstract], phases: Phases, on_hang: OnHang = lambda _: None
) -> Results:
    """Yield the results of an engine, each abstract exactly once, even if the engine fails or leaves some out.

    Abstracts that the engine fails on, or does not return, are tried again in batches. A batch that fails is bisected
    down to single abstracts. Each of these is tried twice, and rejected as `engine_error` if it still fails. Raises
    EngineFaultError if the engine fails even on the canary. Raises DeviceLostError at once if the device is lost,
    since this process can no longer use it. If the engine hangs, the watchdog passes the IDs that are left to
    `on_hang` and ends the process.

    Abstracts on which the model computes NaN are tried again in the same way, since padding or a neighbor may be the
    cause. Raises UserError if it does so on the canary, or on more than a few abstracts: then the precision is to
    blame. Raises UserError, too, if the model writes nothing on many abstracts, one after the other, and the canary.
    """
    left = {a.abstract_id: a for a in abstracts}
    nan: dict[int, str] = {}
    stopped = yield from _attempt(engine, left, phases, [], on_hang, nan, may_stop=True)
    if stopped or nan:
        canary = health_check(engine)
        if not nan and any(isinstance(r, Rejection) and r.reason == EMPTY for r in canary):
            raise UserError(
                f"The model writes nothing on the first {MIN_SILENT} abstracts, nor on a plain sentence, so that no "
                "abstract is to blame. Check prompt, model and precision."
            )
        rest = {i: a for i, a in left.items() if i not in nan}
        yield from _attempt(engine, rest, phases, [], on_hang, nan)
        left = {i: a for i, a in left.items() if i in rest or i in nan}
    # Longest first, as engines sort them.
    rows = sorted(left.values(), key=lambda a: (-len(a.text), a.abstract_id))
    size = max(1, engine.state().batch_size)
    not_numbers = 0
    for start in range(0, len(rows), size):
        for results in _bisect(engine, rows[start : start + size], phases, on_hang):
            not_numbers += sum(isinstance(r, Rejection) and r.reason == NOT_A_NUMBER for r in results)
            if not_numbers > MAX_NOT_A_NUMBER:
                raise UserError(
                    f"The model computes NaN on more than {MAX_NOT_A_NUMBER} of {len(abstracts)} abstracts, though not "
                    f"on a plain sentence: {next(iter(nan.values()))}. What was finished is kept."
                )
            yield results


def _bisect(engine: Summarizer, rows: Sequence[Abstract], phases: Phases, on_hang: OnHang) -> Results:
    """Yield the results of a batch. If it fails, try each half; a single abstract that fails twice is rejected."""
    left = {a.abstract_id: a for a in rows}
    failures: list[str] = []
    nan: dict[int, str] = {}
    yield from _attempt(engine, left, phases, failures, on_hang, nan)
    if left and len(rows) == 1:
        yield from _attempt(engine, left, phases, failures, on_hang, nan)
    if not left:
        return
    rest = list(left.values())
    if len(rows) > 1:
        half = (len(rest) + 1) // 2
        for part in filter(None, (rest[:half], rest[half:])):
            yield from _bisect(engine, part, phases, on_hang)
        return
    health_check(engine)
    row = rest[0].abstract_id
    if row in nan:
        yield [Rejection(row, NOT_A_NUMBER, nan[row])]
        return
    detail = failures[-1] if failures else "the engine returned nothing for it"
    yield [Rejection(row, "engine_error", detail)]


def _attempt(
    engine: Summarizer,
    left: dict[int, Abstract],
    phases: Phases,
    failures: list[str],
    on_hang: OnHang,
    nan: dict[int, str],
    *,
    may_stop: bool = False,
) -> Generator[list[Summary | Rejection], None, bool]:
    """Yield results, and remove their abstracts from `left`. Append the error that ended it to `failures`.

    Abstracts on which the model computes NaN stay, and go to `nan` with the detail. If it `may_stop`, it does, and
    returns True, where the model has computed NaN, or written nothing on many abstracts, before its first summary.
    """
    results = engine.summarize(list(left.values()), phases)
    held: list[Summary | Rejection] = []  # while they may be nobody's fault but the model's

    def release() -> list[Summary | Rejection]:
        new = [result for result in held if left.pop(result.abstract_id, None)]
        held.clear()
        return new

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
            finished = None
        for result in finished or ():
            if isinstance(result, Rejection) and result.reason == NOT_A_NUMBER:
                nan[result.abstract_id] = result.detail
            else:
                nan.pop(result.abstract_id, None)
                held.append(result)
        may_stop = may_stop and all(isinstance(result, Rejection) and result.reason == EMPTY for result in held)
        if may_stop and finished and (nan or len(held) >= MIN_SILENT):
            return True
        if (finished is None or not may_stop) and (new := release()):
            yield new
        if finished is None:
            return False


def health_check(engine: Summarizer) -> list[Summary | Rejection]:
    """Return the engine's results for the canary. Raise EngineFaultError where there are none.

    Raises DeviceLostError if the device is lost, and UserError if the model computes NaN.
    """
    try:
        with watchdog(lambda: None):
            results = [result for finished in engine.summarize([CANARY], Phases()) for result in finished]
    except UserError:
        raise
    except Exception as error:
        if is_device_lost(error):
            raise _lost(error) from error
        raise EngineFaultError(_broken(describe_error(error))) from error
    if not results:
        raise EngineFaultError(_broken("it returns nothing"))
    for result in results:
        if isinstance(result, Rejection) and result.reason == NOT_A_NUMBER:
            raise UserError(
                f"The model computes NaN even on a plain sentence, so that no abstract is to blame: {result.detail}."
            )
    return results


def _broken(reason: str) -> str:
    return f"The engine fails even on a plain sentence: {reason}. No abstract was rejected for it. Run this again."


def _lost(error: Exception) -> DeviceLostError:
    return DeviceLostError(
        f"The device is lost to this process: {describe_error(error)}. Run this again, in a fresh process: it resumes "
        "where it stopped. If it happens again, look at the driver's log (`dmesg`, `nvidia-smi`)."
    )
