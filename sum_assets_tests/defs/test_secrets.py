"""The password of the database is shown nowhere, however commands, runs and Dagster's processes fail."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import conninfo

from sum_assets.database import embedded
from sum_assets.paths import URL_VARIABLE, project_file
from sum_assets_tests.faults.deployment import free_port
from sum_assets_tests.leaks import command_lines, files_with, found_in, tables_with

Run = Callable[..., tuple[int, str, str]]
#: Each of the passwords holds it.
SECRET = "Tr0ub4dor"
PASSWORD, WRONG = f"{SECRET}@/right 9", f"{SECRET}@/wrong 9"
LEAD = "resources: {gpu: {config: {engine: lead}}, postgres: {config: {wait_seconds: 1}}}"
ABSENT = "resources: {summarizer: {config: {model: /absent}}, postgres: {config: {wait_seconds: 1}}}"
#: Sessions of a run that wait for a lock.
WAITING = "SELECT FROM pg_stat_activity WHERE usename = 'lab' AND wait_event_type = 'Lock'"


@dataclass
class Server:
    """A PostgreSQL server that listens on TCP and asks for a password."""

    library: Any
    data: Path
    port: int
    user: str | None
    bin_path: Path

    def control(self, *words: str) -> None:
        arguments = ("-w", "-D", str(self.data), "-l", str(self.data / "log"), *words)
        self.library.pgexec("pg_ctl", arguments, bin_path=self.bin_path, user=self.user)

    def start(self) -> None:
        self.control("-o", f"-h 127.0.0.1 -p {self.port} -k ''", "start")

    def url(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/postgres"

    def admin(self) -> psycopg.Connection:
        return psycopg.connect(self.url("postgres", PASSWORD), autocommit=True)


@pytest.fixture(scope="module")
def server(server_url: str) -> Iterator[Server]:
    library = embedded._pgserver()
    other = library.get_server(str(conninfo.conninfo_to_dict(server_url)["host"]), cleanup_mode=None, start=False)
    with tempfile.TemporaryDirectory(prefix="sum_assets_") as folder:
        password = Path(folder) / "password"
        password.write_text(PASSWORD)
        for path in (Path(folder), password):
            if other.system_user:
                shutil.chown(path, other.system_user)
        data = Path(folder) / "data"
        words = ("-D", str(data), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync")
        library.pgexec("initdb", (*words, f"--pwfile={password}"), bin_path=other.bin_path, user=other.system_user)
        own = Server(library, data, free_port(), other.system_user, other.bin_path)
        own.start()
        with own.admin() as admin:
            admin.execute(f"CREATE ROLE lab LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE postgres TO lab")
            admin.execute("CREATE TABLE article (id bigint PRIMARY KEY, body text); GRANT SELECT ON article TO lab")
            admin.execute("INSERT INTO article SELECT i, 'Text ' || i FROM generate_series(1, 40) AS i")
        yield own
        own.control("-m", "immediate", "stop")


@pytest.fixture
def url(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the lab's role, set for the commands, which have a home of their own."""
    monkeypatch.setenv("SUM_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(URL_VARIABLE, server.url("lab", PASSWORD))
    (tmp_path / "run.yaml").write_text(LEAD)
    (tmp_path / "absent.yaml").write_text(ABSENT)
    monkeypatch.chdir(tmp_path)
    return server.url("lab", PASSWORD)


@pytest.fixture
def keys(url: str, run: Run) -> list[str]:
    """The keys of four ID ranges."""
    code, out, err = run("init", "--source", "public.article", "--id-column", "id", "--abstract-column", "body")
    assert (code, found_in(f"{out}{err}".encode(), SECRET)) == (0, False), err
    run("ranges", "--rows", 10)
    return run("ranges")[1].split()


def require_nowhere(server: Server, folder: Path) -> None:
    """Raise AssertionError where the secret is in a table, or in a file of ours or Dagster's."""
    assert files_with(folder, SECRET) == []
    with server.admin() as admin:
        assert tables_with(admin, SECRET) == []


def test_what_is_searched_is_found(server: Server, keys: list[str], tmp_path: Path) -> None:
    """The other tests can fail."""
    (tmp_path / "log").write_bytes(b"\0postgresql://u:" + SECRET.encode())
    assert files_with(tmp_path, SECRET) == [tmp_path / "log"]
    with server.admin() as admin, admin.transaction(force_rollback=True):
        admin.execute("UPDATE sum_assets.source_record SET source = %s", [quote(PASSWORD)])
        assert tables_with(admin, SECRET) == ["sum_assets.source_record"]
    command = ["sh", "-c", f"echo; read line; : {SECRET}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # else it may not have its command line yet
        assert sum(found_in(line, SECRET) for line in command_lines()) == 1
        process.communicate(b"\n")


COMMANDS = (
    ("status",),
    ("verify",),
    ("ranges",),
    ("report",),
    ("init",),
    ("doctor", "--json"),
    ("ui",),
    ("backfill", "--url", "http://127.0.0.1:9"),
    ("materialize", "0000000001-0000000010", "-c", "run.yaml"),
    ("quickstart", "--source", "public.article", "-c", "run.yaml"),
)


@pytest.mark.parametrize(
    "named",
    [
        "postgresql://lab:{wrong}@127.0.0.1:{port}/postgres",
        "host=127.0.0.1 port={port} user=lab password='{plain}' dbname=postgres",
        "host=127.0.0.1 port={port} password='{plain}' dbname=postgres",
        "postgresql://lab:{wrong}@127.0.0.1:1/postgres",
        "postgresql://lab:{wrong}@127.0.0.1:{port}/absent",
        "postgresql://lab:{plain}@127.0.0.1:{port}/postgres",
        "postgresql://lab:{wrong}@127.0.0.1:{port}/postgres?pasword={wrong}",
    ],
    ids=["wrong password", "key=value", "no user", "away", "no database", "not escaped", "misspelt"],
)
def test_a_connection_that_fails(
    server: Server, url: str, named: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = named.format(wrong=quote(WRONG, safe=""), plain=WRONG, port=server.port)
    monkeypatch.setenv(URL_VARIABLE, named)
    for words in COMMANDS:
        code, out, err = run(*words)
        assert (code, found_in(f"{out}{err}".encode(), SECRET)) == (1, False), (words, out, err)
    assert files_with(tmp_path, SECRET) == []


def test_dagsters_own_processes_that_cannot_start(server: Server, url: str, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(project_file("dagster.yaml").read_text())
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path), URL_VARIABLE: server.url("lab", WRONG)}
    command = [sys.executable, "-m", "dagster", "instance", "info"]
    said = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert said.returncode != 0
    assert b"Cannot connect to PostgreSQL" in said.stderr
    assert not found_in(said.stdout + said.stderr, SECRET)
    assert files_with(tmp_path, SECRET) == []


@pytest.mark.parametrize("disturbance", ["none", "the model is absent", "the source is gone"])
def test_a_run(server: Server, keys: list[str], run: Run, tmp_path: Path, disturbance: str) -> None:
    with server.admin() as admin:
        if disturbance == "the source is gone":
            admin.execute("ALTER TABLE article RENAME TO moved")
        file = "absent.yaml" if disturbance == "the model is absent" else "run.yaml"
        code, out, err = run("materialize", keys[0], "-c", file)
        if disturbance == "the source is gone":
            admin.execute("ALTER TABLE moved RENAME TO article")
    assert (code, found_in(f"{out}{err}".encode(), SECRET)) == (disturbance != "none", False), err
    require_nowhere(server, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("disturbance", ["another password", "the server stops"])
def test_a_run_that_loses_its_database(server: Server, keys: list[str], tmp_path: Path, disturbance: str) -> None:
    """Dagster cannot write its log then, either."""
    key = keys[2 if disturbance == "the server stops" else 1]  # the server is that of all tests
    command = [sys.executable, "-m", "sum_assets", "materialize", key, "-c", "run.yaml"]
    with (tmp_path / "output").open("wb") as output, server.admin() as admin, closing(server.admin()) as locking:
        locking.execute("BEGIN; LOCK TABLE sum_assets.generated_summary IN EXCLUSIVE MODE")
        process = subprocess.Popen(command, stdout=output, stderr=output)
        while admin.execute(WAITING).fetchone() is None:
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert not any(found_in(line, SECRET) for line in command_lines())
            time.sleep(0.1)
        if disturbance == "the server stops":
            server.control("-m", "immediate", "stop")
        else:
            locking.execute("COMMIT")
            admin.execute("ALTER ROLE lab PASSWORD 'another'")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lab'")
        code = process.wait(120)
    if disturbance == "the server stops":
        server.start()
    else:
        with server.admin() as admin:
            admin.execute(f"ALTER ROLE lab PASSWORD '{PASSWORD}'")
    assert code == 1
    assert (tmp_path / "output").stat().st_size
    require_nowhere(server, tmp_path)
