"""Takes the ID ranges that nobody has, one after the other, until none is left: what a batch job runs.

Any number of processes may do so at once, on any hosts. Each holds the lease of its range from before it looks what is
left to do until it is published, so no two ever do the same.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import dagster as dg
from psycopg import Connection

from sum_assets.database.range_count import count_range
from sum_assets.database.range_lease import range_lease
from sum_assets.database.range_registry import ranges_in_runs
from sum_assets.database.reconnect import Database
from sum_assets.database.status import RangeStatus, range_status
from sum_assets.database.verify import verify_range
from sum_assets.defs.instance import materialize
from sum_assets.defs.lost_runs import end_lost_runs
from sum_assets.defs.run_failures import failure_message, lost_device, was_stopped
from sum_assets.errors import RangeError, StoppedError, UserError
from sum_assets.id_range import IdRange
from sum_assets.paths import dagster_is_here
from sum_assets.stopping import Stop, stop_between_batches
from sum_assets.summarizer.kept_summarizer import keep_summarizer

#: After so many failures in a row, the host or the configuration is to blame, and the ranges are left to others.
MOST_FAILURES = 3
_OVER = ("done", "empty")


@dataclass
class WorkReport:
    """What a process did, and the ranges that others had at the end."""

    done: list[IdRange] = field(default_factory=list)
    failed: dict[IdRange, str] = field(default_factory=dict)
    with_others: int = 0


def work(
    instance: dg.DagsterInstance,
    database: Database,
    ranges: Sequence[IdRange],
    run_config: Mapping[str, Any],
    log: Callable[[str], object],
) -> WorkReport:
    """Summarize and publish those of the ranges that nobody has, and return what was done.

    Those whose last run failed come last. None is tried twice. Device and summarizer stay from range to range. Raises
    StoppedError where a run was asked to stop, and UserError where the device is lost or too many fail in a row.
    """
    with keep_summarizer(), stop_between_batches(None) as stop:  # a run has its own, and stops sooner
        return _work_until(stop, instance, database, ranges, run_config, log)


def _work_until(
    stop: Stop,
    instance: dg.DagsterInstance,
    database: Database,
    ranges: Sequence[IdRange],
    run_config: Mapping[str, Any],
    log: Callable[[str], object],
) -> WorkReport:
    report = WorkReport()
    tried: set[IdRange] = set()
    in_a_row = 0
    while True:
        if reason := stop():
            raise StoppedError(f"Stopped {reason}. What is done is published. Run it again for the rest.")
        free, report.with_others = _look(instance, database, ranges, tried)
        for id_range in free:
            try:
                outcome = _take(instance, database, id_range, run_config)
            except RangeError as error:
                report.failed[id_range] = str(error)
                log(f"{id_range.key}: failed. {error}")
                in_a_row += 1
            else:
                if outcome == "with others":
                    continue
                if outcome == "done":
                    report.done.append(id_range)
                    log(f"{id_range.key}: done. {len(free) - 1:,} more to do")
                in_a_row = 0
            tried.add(id_range)
            break
        else:
            return report
        if in_a_row == MOST_FAILURES:
            raise UserError(
                f"{MOST_FAILURES} ID ranges failed in a row, so the others are left alone. Correct what is wrong here, "
                f"and run this again. The last, {id_range.key}: {report.failed[id_range]}"
            )


def _look(
    instance: dg.DagsterInstance, database: Database, ranges: Sequence[IdRange], tried: Collection[IdRange]
) -> tuple[list[IdRange], int]:
    """Return the ranges to try, in order, and how many others have."""
    database.run(partial(end_lost_runs, instance))  # else theirs would count as queued

    def look(connection: Connection) -> list[RangeStatus]:
        in_runs = ranges_in_runs(connection, ranges) if dagster_is_here() else set()
        return range_status(connection, ranges, 0.0, in_runs)

    statuses = database.run(look)
    free = [one for one in statuses if one.state not in ("running", "queued", *_OVER) and one.id_range not in tried]
    free.sort(key=lambda one: one.state == "failed")
    return [one.id_range for one in free], sum(one.state in ("running", "queued") for one in statuses)


def _take(
    instance: dg.DagsterInstance, database: Database, id_range: IdRange, run_config: Mapping[str, Any]
) -> Literal["done", "over", "with others"]:
    """Do a range: `done`, or `over` where others have done it meanwhile; `with others` where somebody has it.

    Raises RangeError where its run fails, and UserError where no run of this process can do better.
    """
    run_id = str(uuid.uuid4())
    with ExitStack() as stack:
        try:
            stack.enter_context(range_lease(database, id_range, run_id))
        except RangeError:
            return "with others"
        state = database.run(verify_range, id_range)
        over = RangeStatus(id_range, state, None, None).state in _OVER
        if not over:
            result = materialize(instance, id_range.key, None, run_config, run_id=run_id)
            if was_stopped(result):
                raise StoppedError(failure_message(result))
            if not result.success:
                if lost := lost_device(result):
                    raise UserError(lost)
                raise RangeError(failure_message(result))
    database.run(count_range, id_range)  # not before: it records nothing while somebody holds the range
    return "over" if over else "done"
