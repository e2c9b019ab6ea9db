"""The errors that a user can cause and fix, and those of engines, which a new process may fix."""


class UserError(Exception):
    """What is wrong and what to do about it, in sentences a person can act on.

    The command line prints it without a traceback and exits with code 1; an asset turns it into a failed
    step whose first line is this message.
    """


class UnsupportedError(UserError):
    """A setting that the device, the model or an installed library cannot serve, known before loading."""


class UnreachableError(UserError):
    """The database does not answer now, but may do so later."""


class RangeError(UserError):
    """What keeps one ID range from being done. Others can be."""


class StoppedError(UserError):
    """The run was asked to stop, and stopped between two batches."""


class WorkerError(RuntimeError):
    """A worker process failed. The next request to it starts a new process."""


class EngineFaultError(Exception):
    """The engine fails on any text. No abstract is to blame, and a new process may help."""


class DeviceLostError(EngineFaultError):
    """The device or its driver failed, and this process can no longer use it."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if that is empty.

    NUL characters are removed, since PostgreSQL stores none.
    """
    return str(error).replace("\x00", "").strip().partition("\n")[0].strip() or type(error).__name__
