"""The errors a user can cause and mend, and those of engines, which a fresh process may mend."""


class UserError(Exception):
    """What is wrong and what to do about it, in sentences a person can act on.

    The command line prints it without a traceback and exits with code 1; an asset turns it into a failed
    step whose first line is this message.
    """


class UnsupportedError(UserError):
    """A setting that the device, the model or an installed library cannot serve, known before loading."""


class UnreachableError(UserError):
    """The database does not answer; it may do so later."""


class StoppedError(UserError):
    """The run was asked to stop, and did so between two batches."""


class WorkerError(RuntimeError):
    """A worker process failed, whatever of: the next thing it is asked for is done by a fresh one."""


class EngineFaultError(Exception):
    """The engine fails whatever it is given: no row is to blame, and a fresh process may help."""


class DeviceLostError(EngineFaultError):
    """The device or its driver failed, and every further use of it in this process will."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, its type where it says nothing; without NUL, for PostgreSQL."""
    return str(error).replace("\x00", "").strip().partition("\n")[0].strip() or type(error).__name__
