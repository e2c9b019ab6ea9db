"""Tells a device that is lost from an engine that fails."""

from sum_assets.errors import WorkerError, first_line

_DEVICE_LOST = (
    "cuda error",
    "hip error",
    "cublas_status_execution_failed",
    "cudnn_status_execution_failed",
    "device-side assert",
    "illegal memory access",
    "misaligned address",
    "unspecified launch failure",
    "device is lost",
    "device lost",
    "ecc error",
    "no cuda-capable device",
    "all cuda-capable devices are busy or unavailable",
)


def is_device_lost(error: BaseException) -> bool:
    """Return whether the driver says that the device, for this process at least, is gone.

    It reports a lack of memory in the same form; that one passes. What a worker process loses, this one has not.
    """
    if isinstance(error, WorkerError):
        return False
    said = str(error).lower()
    return "out of memory" not in said and any(sign in said for sign in _DEVICE_LOST)


def named(error: BaseException) -> str:
    """Return an exception's type and first line."""
    name, said = type(error).__name__, first_line(error)
    return said if said == name else f"{name}: {said}"[:500]
