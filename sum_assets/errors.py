"""The errors a user can cause and mend."""


class UserError(Exception):
    """What is wrong and what to do about it, in sentences a person can act on.

    The command line prints it without a traceback and exits with code 1; an asset turns it into a failed
    step whose first line is this message.
    """


class UnsupportedError(UserError):
    """A setting that the device, the model or an installed library cannot serve, known before loading."""
