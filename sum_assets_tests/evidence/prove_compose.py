"""What `deploy/compose.yaml` starts, without Docker, behind nginx with a login: `make prove-compose`.

Two ID ranges are backfilled. Then everything that was written is searched for the database's password.
"""

import base64
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import dagster as dg
import psutil
import psycopg
import yaml

from sum_assets.defs.backfill import launch_backfill
from sum_assets.defs.instance import open_instance
from sum_assets.errors import UserError
from sum_assets.paths import URL_VARIABLE, project_file
from sum_assets_tests.doc_blocks import blocks
from sum_assets_tests.faults.cases import wait_until
from sum_assets_tests.faults.deployment import free_port
from sum_assets_tests.faults.sandbox import LEAD, Sandbox, open_sandbox
from sum_assets_tests.faults.server import FIRST, SECOND, Server
from sum_assets_tests.leaks import command_lines, files_with, found_in, tables_with

DEPLOY = project_file("deploy")
SECRET, LOGIN = "Tr0ub4dor-of-the-database", "Tr0ub4dor-of-alice"
HANDSHAKE = (
    "GET /graphql HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: c3VtX2Fzc2V0c19rZXkhIQ==\r\nSec-WebSocket-Protocol: graphql-ws\r\n{login}\r\n"
)
INIT = '{"type": "connection_init", "payload": {}}'


class Services:
    """The services' own command lines and environment, with ports and folders of their own."""

    def __init__(self, opened: Sandbox) -> None:
        self._services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
        self.ports = {port: str(free_port()) for port in ("3000", "4000")}
        workspace = opened.folder / "workspace.yaml"
        text = (DEPLOY / "compose_workspace.yaml").read_text()
        workspace.write_text(text.replace("host: code", "host: 127.0.0.1").replace("4000", self.ports["4000"]))
        self._here = self.ports | {
            "/opt/sum_assets/deploy/compose_workspace.yaml": str(workspace),
            "0.0.0.0": "127.0.0.1",
        }
        self.home = opened.folder / "home"
        self.log = self.home / "output.log"
        (self.home / "dagster").mkdir(parents=True)
        paths = {"SUM_ASSETS_HOME": str(self.home), "DAGSTER_HOME": str(self.home / "dagster")}
        self._common = os.environ | paths | {URL_VARIABLE: opened.url, "PYTHONPATH": os.getcwd()}

    def start(self, name: str) -> psutil.Popen:
        """Start a service."""
        service = self._services[name]
        executable, *words = service["command"]
        command = [str(Path(sys.executable).parent / executable), *(self._here.get(word, word) for word in words)]
        own = {key: value for key, value in service["environment"].items() if key != URL_VARIABLE}
        own.pop("<<", None)
        assert own["PGPASSWORD"].startswith("${POSTGRES_PASSWORD:?")
        with self.log.open("ab") as log:
            environment = self._common | own | {"PGPASSWORD": SECRET}
            return psutil.Popen(command, env=environment, stdout=log, stderr=log)


def end(process: psutil.Popen) -> None:
    """End a process and what it started."""
    for one in [*process.children(recursive=True), process] if process.poll() is None else []:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    process.wait()


def start_nginx(folder: Path, upstream: str) -> tuple[psutil.Popen, str]:
    """Start nginx with the configuration that the documentation shows, without TLS, and return its address."""
    port = str(free_port())
    lines = blocks("how-to/login.md", "nginx", "nginx")[0].replace("127.0.0.1:3000", upstream).splitlines()
    text = "\n".join(line for line in lines if "ssl_certificate" not in line).replace("443 ssl", f"127.0.0.1:{port}")
    users = folder / "users"
    said = subprocess.run(["openssl", "passwd", "-6", LOGIN], capture_output=True, text=True, check=True).stdout
    users.write_text(f"alice:{said}")
    text = text.replace("/etc/nginx/sum_assets.htpasswd", str(users))
    users.chmod(0o644)
    (folder / "conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log {folder}/access.log; client_body_temp_path {folder}/body; {text} }}\n"
    )
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        raise SystemExit("This needs nginx: apt-get install nginx-light")
    return psutil.Popen([nginx, "-c", str(folder / "conf"), "-e", str(folder / "error.log")]), f"127.0.0.1:{port}"


def authorization(password: str) -> str:
    """Return the value of the header of alice's login."""
    return "Basic " + base64.b64encode(f"alice:{password}".encode()).decode()


def status(address: str, password: str = "") -> int:
    """Return the status of a page of the UI, with a login if there is a password."""
    headers = {"Authorization": authorization(password)} if password else {}
    try:
        with urlopen(Request(f"http://{address}/server_info", headers=headers), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def upgrade(address: str, password: str = "") -> tuple[int, bytes]:
    """Ask for the websocket of the live logs. Return the status, and what Dagster says to a first message."""
    host, _, port = address.partition(":")
    login = f"Authorization: {authorization(password)}\r\n" if password else ""
    with socket.create_connection((host, int(port)), timeout=10) as channel:
        channel.sendall(HANDSHAKE.format(host=address, login=login).encode())
        answer = channel.recv(4096)
        code = int(answer.split()[1])
        if code != 101:
            return code, b""
        # A frame of text, masked with zeros.
        channel.sendall(bytes([0x81, 0x80 | len(INIT)]) + bytes(4) + INIT.encode())
        return code, channel.recv(4096)


def prove(opened: Sandbox, services: Services, address: str, instance: dg.DagsterInstance) -> str:
    """Return how it went; an AssertionError says what did not."""
    url = f"http://127.0.0.1:{services.ports['3000']}"

    def launched() -> bool:
        with suppress(UserError):  # the webserver, or the code server, is not there yet
            return bool(launch_backfill(url, [FIRST.key, SECOND.key], LEAD))
        return False

    def ended() -> bool:
        assert not any(found_in(line, SECRET) for line in command_lines())
        runs = instance.get_runs()
        return len(runs) == 2 and all(run.is_finished for run in runs)

    wait_until(launched, 120, "the launch of the backfill")
    assert [status(address), status(address, "wrong"), status(address, LOGIN)] == [401, 401, 200]
    assert (upgrade(address)[0], upgrade(address, "wrong")[0]) == (401, 401)
    code, said = upgrade(address, LOGIN)
    assert (code, b"connection_ack" in said) == (101, True), said
    wait_until(ended, 180, "the end of both runs")
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2
    tally = opened.tally(LEAD)
    assert (tally.lost, tally.twice) == (0, 0), tally
    assert files_with(services.home, SECRET) == []
    with psycopg.connect(opened.url) as connection:
        assert tables_with(connection, SECRET) == []
    return f"{tally}; without a login 401, with it 200 and a websocket; the password is nowhere"


def main() -> None:
    """Set up, prove, tear down."""
    began = time.monotonic()
    with ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        opened = stack.enter_context(open_sandbox(server))
        services = Services(opened)
        assert services.start("init").wait() == 0, services.log.read_text()
        assert (services.home / "dagster" / "dagster.yaml").is_file()
        for name in ("code", "webserver", "daemon"):
            stack.callback(end, services.start(name))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nginx_")))
        folder.chmod(0o755)
        nginx, address = start_nginx(folder, f"127.0.0.1:{services.ports['3000']}")
        stack.callback(end, nginx)
        os.environ |= {URL_VARIABLE: opened.url, "DAGSTER_HOME": str(services.home / "dagster")}
        instance = stack.enter_context(open_instance())
        print(prove(opened, services, address, instance), f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
