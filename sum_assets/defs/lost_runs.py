"""Ends runs whose process is gone: Dagster would count them as running, and keep others in the queue, for ever.

Its default launcher cannot tell. A run that is marked as failed here is retried as `run_retries` says.
"""

import time
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import GRPC_INFO_TAG
from psycopg import Connection

from sum_assets.database.range_lease import holders
from sum_assets.database.run_process import forget_processes, recorded_since, run_processes

_S = dg.DagsterRunStatus
_UNFINISHED = [_S.NOT_STARTED, _S.STARTING, _S.STARTED, _S.CANCELING]
#: Seconds after its start in which a code server does not judge what its predecessor has launched: a process that the
#: latter started may have yet to record itself.
GRACE = 45.0


@dataclass(frozen=True, slots=True)
class CodeServer:
    """A code server, as what has launched the runs of its location since it began, in seconds since the epoch."""

    location: str
    began: float

    def outlives(self, instance: dg.DagsterInstance, run: dg.DagsterRun, since: float) -> bool:
        """Return whether a predecessor launched a run, which never recorded its process, as all did after `since`.

        A worker that begins later all the same finds that its run has ended, and ends.
        """
        origin = run.remote_job_origin
        if (
            run.status == _S.NOT_STARTED
            or GRPC_INFO_TAG not in run.tags  # another launcher's
            or origin is None
            or origin.location_name != self.location
            or time.time() - self.began < GRACE
        ):
            return False
        launched = instance.get_run_stats(run.run_id).launch_time
        return launched is not None and since < launched < self.began


def end_lost_runs(
    instance: dg.DagsterInstance, connection: Connection, server: CodeServer | None = None
) -> dict[str, str]:
    """Mark the runs as failed, or as canceled, whose process is gone; return why, by run.

    On this machine its process is looked up; that of another, and of an earlier boot, is gone when it has sent no
    heartbeat for 90 s. A run that holds a living lease goes on: one of its steps has outlived the process.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED))
    processes = run_processes(connection)
    working = {holder.run_id for holder in holders(connection) if holder.alive}
    since = recorded_since(connection)
    ended = {}
    for before in (record.dagster_run for record in records):
        run_id = before.run_id
        process = processes.get(run_id)
        if process and not process.alive:
            reason = f"The {process} that ran it is gone."
        elif not process and server and since and server.outlives(instance, before, since.timestamp()):
            reason = "It was launched before the code server was started again, and its process never began."
        else:
            continue
        # A process that is gone has written all it could: what is read now is how the run ended.
        run = instance.get_run_by_id(run_id)
        if run_id in working or run is None or run.is_finished:
            continue
        ended[run_id] = reason
        text = f"{reason} What it finished is committed; a run of the same ID range goes on there."
        if run.status == _S.CANCELING:
            instance.report_run_canceled(run, text)
        else:
            instance.report_run_failed(run, text)
    forget_processes(connection, [record.dagster_run.run_id for record in records])
    return ended
