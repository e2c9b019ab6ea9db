"""Sets a device aside that is lost again and again, across runs."""

import os
import socket

from psycopg import Connection

from sum_assets.database.statements import statement
from sum_assets.errors import UserError

#: So many losses within so many seconds set a device aside: a run's own retries, which a fresh process did not mend.
LOSSES = 3
WITHIN = 3600.0


def note_loss(connection: Connection, device: str, said: str, run_id: str) -> None:
    """Note that a run lost a device of this host, by torch's name."""
    query = "INSERT INTO sum_assets.device_loss (host, device, said, run_id) VALUES (%s, %s, %s, %s)"
    connection.execute(query, [socket.gethostname(), _named(device), said, run_id])


def require_trusted(connection: Connection, device: str) -> None:
    """Raise UserError where this host lost the device too often lately."""
    parameters = {"host": socket.gethostname(), "device": _named(device), "seconds": WITHIN}
    row = connection.execute(statement("device_losses"), parameters).fetchone()
    if row and row[0] >= LOSSES:
        raise UserError(
            f"The device {device} of {socket.gethostname()} was lost {row[0]} times within an hour and is set aside: "
            f"{row[1]} Set another device, or fix it and run `sum-assets devices reset`."
        )


def trust(connection: Connection) -> list[str]:
    """Use the devices of this host again; return those that were lost."""
    query = "DELETE FROM sum_assets.device_loss WHERE host = %s RETURNING device"
    return sorted({row[0] for row in connection.execute(query, [socket.gethostname()])})


def _named(device: str) -> str:
    """Return a name that means one device of the host, whichever of them a process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"{device} of {seen}" if seen and device.startswith("cuda") else device
