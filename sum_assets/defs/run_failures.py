"""Says why a run in this process failed, from its events."""

from collections.abc import Iterator

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from sum_assets.errors import DeviceLostError, StoppedError

STOPPED = "The run was stopped. What it finished is committed. Run it again to go on."


def was_stopped(result: dg.ExecuteInProcessResult) -> bool:
    """Return whether somebody asked a run to stop, by a signal or by `stop_at`."""
    return any(
        error.cls_name == StoppedError.__name__ or "Interrupted" in str(error.cls_name) for error in _errors(result)
    )


def lost_device(result: dg.ExecuteInProcessResult) -> str | None:
    """Return what a run said when its device was lost to this process, None where it was not."""
    lost = (error for error in _errors(result) if error.cls_name == DeviceLostError.__name__)
    return next((_message(error) for error in lost), None)


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """Return why a run failed: the failure's own sentence, else the message of the first cause."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
    for error in _errors(result):
        if error.cause is None:
            return STOPPED if "Interrupted" in str(error.cls_name) else _message(error)
    return "The run failed; see its log above."


def _errors(result: dg.ExecuteInProcessResult) -> Iterator[SerializableErrorInfo]:
    """Yield the errors of a run's events, each before its cause."""
    for event in result.all_events:
        error = getattr(event.event_specific_data, "error", None)
        while error:
            yield error
            error = error.cause


def _message(error: SerializableErrorInfo) -> str:
    return str(error.message).strip()
