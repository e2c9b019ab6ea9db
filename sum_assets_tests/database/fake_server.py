"""A server that answers each connection with one error, in the language and with the SQLSTATE that a test says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def refusing(state: str, message: str) -> Iterator[int]:
    """Listen on a port of this machine, and yield it."""
    fields = {b"S": "SCHWERWIEGEND", b"V": "FATAL", b"C": state, b"M": message}
    body = b"".join(code + text.encode() + b"\0" for code, text in fields.items()) + b"\0"
    answer = b"E" + (len(body) + 4).to_bytes(4, "big") + body
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer, args=[server, answer], daemon=True).start()
        yield server.getsockname()[1]


def _answer(server: socket.socket, answer: bytes) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            with client:
                length = int.from_bytes(client.recv(4, socket.MSG_WAITALL), "big")
                request = client.recv(length - 4, socket.MSG_WAITALL)
                while request[:2] == b"\x04\xd2":  # asks for encryption
                    client.sendall(b"N")
                    length = int.from_bytes(client.recv(4, socket.MSG_WAITALL), "big")
                    request = client.recv(length - 4, socket.MSG_WAITALL)
                client.sendall(answer)
