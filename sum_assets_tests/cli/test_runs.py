"""`sum-assets ui` starts nothing where it cannot listen."""

import os
import socket
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that this process would have become."""
    commands: list[list[str]] = []

    def start(_: str, command: list[str]) -> None:
        commands.append(command)
        sys.exit(0)

    monkeypatch.setattr(os, "execv", start)
    return commands


@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_taken_port_is_an_error_before_anything_starts(
    run: Run, started: list[list[str]], listening: str, host: str
) -> None:
    with socket.create_server((listening, 0)) as server:
        port = server.getsockname()[1]
        code, _, err = run("ui", "--host", host, "--port", port)
        assert (code, f"Port {port} of {host} is in use, perhaps by a UI" in err) == (1, True), err
        assert started == []


def test_a_free_port_is_served(run: Run, started: list[list[str]], database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, out, _ = run("ui", "--port", port)
    database = database_url.rpartition("/")[2].partition("?")[0]
    assert (code, f"http://127.0.0.1:{port} and serves " in out, database in out) == (0, True, True), out
    assert started[0][-1] == str(port)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "192.0.2.1"), "The UI cannot listen on 192.0.2.1, port 3000: "),
        (("--host", "no.such.host.invalid"), "The UI cannot listen on no.such.host.invalid, port 3000: "),
    ],
)
def test_other_reasons_are_told(run: Run, started: list[list[str]], arguments: tuple[str, ...], message: str) -> None:
    code, _, err = run("ui", *arguments)
    assert (code, message in err, started) == (1, True, []), err
