"""A TCP proxy before a PostgreSQL server that can swallow what passes: it acknowledges, and forwards nothing more."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg import conninfo


class Proxy:
    """Forwards each connection until `swallow`."""

    def __init__(self, target: str, listener: socket.socket) -> None:
        self._target, self._listener = target, listener
        self._holes: list[threading.Event] = []
        self.new_too = threading.Event()
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self, *, new_too: bool = True) -> None:
        """Forward nothing more on the connections that there are; `new_too` means those to come as well."""
        if new_too:
            self.new_too.set()
        for hole in self._holes:
            hole.set()

    def heal(self) -> None:
        """Forward what comes on new connections; the old ones stay as they are."""
        self.new_too.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                hole = threading.Event()
                if self.new_too.is_set():
                    hole.set()
                self._holes.append(hole)
                self.sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=[*pair, hole], daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, hole: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not hole.is_set():
                    sink.sendall(data)
            if not hole.is_set():
                sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(url: str) -> Iterator[tuple[str, Proxy]]:
    """Yield the URL of a proxy on this machine before the server of a UNIX socket, and the proxy."""
    folder = conninfo.conninfo_to_dict(url)["host"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        between = Proxy(f"{folder}/.s.PGSQL.5432", listener)
        try:
            port = listener.getsockname()[1]
            yield conninfo.make_conninfo(url, host="127.0.0.1", port=port, sslmode="disable"), between
        finally:
            for end in between.sockets:
                end.close()
