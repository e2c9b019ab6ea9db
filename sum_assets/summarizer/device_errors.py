"""Recognizes from an engine's error whether the device is lost or out of memory. It imports no torch."""

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
#: The last one comes from the loader of shared objects, which is the first to fail under a limit of memory.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "failed to map segment")


def is_device_lost(error: BaseException) -> bool:
    """Return whether the driver reports that the device is lost, at least for this process.

    Drivers report out-of-memory in the same form, but the device survives it. A device that a worker process lost is
    not lost to this process.
    """
    if isinstance(error, WorkerError):
        return False
    message = str(error).lower()
    return "out of memory" not in message and any(phrase in message for phrase in _DEVICE_LOST)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the device or of the host ran out, in a worker process too."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's class, by its name
        return True
    message, line = str(error).lower(), first_line(error).lower()
    if any(phrase in message for phrase in _OUT_OF_MEMORY):
        return True
    # The wording differs between allocators. An illegal memory access, however, is a lost device.
    return "memory" in line and "alloc" in line and not any(phrase in message for phrase in _DEVICE_LOST)


def describe_error(error: BaseException) -> str:
    """Return an exception's type and first line."""
    name, line = type(error).__name__, first_line(error)
    return line if line == name else f"{name}: {line}"[:500]
