"""Whether the UI can listen on a port."""

import errno
import socket

from sum_assets.errors import UserError


def require_free(host: str, port: int) -> None:
    """Raise UserError where nothing can listen, before anything is started: the daemon would start all the same."""
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            socket.create_server(address[:2], family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Port {port} of {host} is in use, perhaps by a UI that runs already: http://{host}:{port}. End that, "
                "or name another port: `sum-assets ui --port N`."
            ) from error
        raise UserError(
            f"The UI cannot listen on {host}, port {port}: {error.strerror}. Name others with --host and --port."
        ) from error
