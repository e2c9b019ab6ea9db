"""Quarantines a device that is lost again and again, across runs."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Connection

from sum_assets.database.characters import storable
from sum_assets.database.reconnect import Database
from sum_assets.database.statements import statement
from sum_assets.errors import DeviceLostError, UserError

#: So many losses within so many seconds quarantine a device: a run's own retries, which a fresh process did not fix.
LOSSES = 3
WITHIN = 3600.0


def record_loss(connection: Connection, device: str, message: str, run_id: str) -> None:
    """Record that a run lost a device of this host, by torch's name."""
    query = "INSERT INTO sum_assets.device_loss (host, device, message, run_id) VALUES (%s, %s, %s, %s)"
    connection.execute(query, [socket.gethostname(), _host_name(device), storable(connection, message), run_id])


@contextmanager
def recorded_losses(database: Database, device: str, run_id: str) -> Iterator[None]:
    """Record a DeviceLostError that leaves the block."""
    try:
        yield
    except DeviceLostError as error:
        database.run(record_loss, device, str(error), run_id)
        raise


def require_not_quarantined(connection: Connection, device: str) -> None:
    """Raise UserError where this host lost the device too often lately."""
    parameters = {"host": socket.gethostname(), "device": _host_name(device), "seconds": WITHIN}
    row = connection.execute(statement("device_loss_recent"), parameters).fetchone()
    if row and row[0] >= LOSSES:
        raise UserError(
            f"The device {device} of {socket.gethostname()} was lost {row[0]} times within an hour and is quarantined: "
            f"{row[1]} Set another device. Or fix this one, then run `sum-assets devices reset`."
        )


def reset(connection: Connection) -> list[str]:
    """End the quarantine of this host's devices, and return those that were lost."""
    query = "DELETE FROM sum_assets.device_loss WHERE host = %s RETURNING device"
    return sorted({row[0] for row in connection.execute(query, [socket.gethostname()])})


def _host_name(device: str) -> str:
    """Return a name that means one device of the host, whichever of them a process sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"{device} of {visible}" if visible and device.startswith("cuda") else device
