"""Behind pgbouncer in transaction mode, everything works as without it, and the tables are where they belong."""

import configparser
import getpass
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection, conninfo

from sum_assets.abstract import Summary
from sum_assets.database.connection import connect
from sum_assets.database.range_lease import range_lease
from sum_assets.database.reconnect import open_database
from sum_assets.database.results import ResultStore
from sum_assets.defs.instance import open_instance, register_ranges, registered_ranges
from sum_assets.id_range import IdRange
from sum_assets.paths import URL_VARIABLE
from sum_assets_tests.doc_blocks import blocks

Run = Callable[..., tuple[int, str, str]]
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="needs pgbouncer (Debian: apt-get install pgbouncer)")


@pytest.fixture(params=[{}, {"ignore_startup_parameters": "options,extra_float_digits"}], ids=["as it is", "ignoring"])
def pooled_url(database_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = str(conninfo.conninfo_to_dict(database_url)["host"])
    name = conninfo.conninfo_to_dict(database_url)["dbname"]
    user = "pgserver" if os.geteuid() == 0 else getpass.getuser()
    with tempfile.TemporaryDirectory(prefix="sum_assets_") as path:
        folder = Path(path)
        with (folder / "ini").open("w") as ini:
            _settings(folder, server, request.param).write(ini)
        for file in (folder, folder / "ini"):
            shutil.chown(file, user)
        command = [str(PGBOUNCER), "-q", *(["-u", user] if os.geteuid() == 0 else []), str(folder / "ini")]
        with subprocess.Popen(command) as pooler:
            url = conninfo.make_conninfo("", host=path, user="postgres", dbname=name)
            _await(url, pooler)
            monkeypatch.setenv(URL_VARIABLE, url)
            yield url
            pooler.terminate()


def _settings(folder: Path, server: str, more: dict[str, str]) -> configparser.ConfigParser:
    """Return the configuration that the documentation shows, for sockets of the tests and without passwords."""
    settings = configparser.ConfigParser()
    settings.read_string(blocks("how-to/your-own-server.md", "pgbouncer", "ini")[0])
    assert settings["pgbouncer"]["pool_mode"] == "transaction"
    settings["databases"] = {"*": f"user=postgres host={server}"}
    sockets = {"listen_addr": "", "unix_socket_dir": str(folder), "listen_port": "5432", "auth_type": "any"}
    few = {"default_pool_size": "3"}  # sessions of the server for all clients, so that they meet: `ranges` needs three
    files = {"logfile": f"{folder}/log", "pidfile": f"{folder}/pid"}
    settings["pgbouncer"].update(sockets | few | files | more)
    del settings["pgbouncer"]["auth_file"]
    return settings


def _await(url: str, pooler: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert pooler.poll() is None, "pgbouncer does not start"
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return


def test_dagsters_tables_are_in_their_schema(pooled_url: str, database: Connection, database_url: str) -> None:
    with open_instance() as instance:
        register_ranges(instance, [IdRange(1, 5)])
    tables = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('runs', 'event_logs', 'jobs', 'kvs')"
    assert database.execute(tables).fetchall() == [("dagster",)]
    in_public = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert database.execute(in_public).fetchone() == (0,)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, database_url)
        with open_instance() as direct:
            assert registered_ranges(direct) == [IdRange(1, 5)]
            register_ranges(direct, [IdRange(6, 9)])
    with open_instance() as instance:
        instance.optimize_for_webserver(1000, 100, 1)
        assert registered_ranges(instance) == [IdRange(1, 5), IdRange(6, 9)]


def test_commands_work(pooled_url: str, run: Run, tmp_path: Path, database: Connection) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text("abstract_id,abstract\n" + "".join(f"{i},text {i}. And more.\n" for i in range(1, 41)))
    config = tmp_path / "run.yaml"
    config.write_text("resources: {gpu: {config: {engine: lead, batch_size: 2}}}\n")
    assert run("init")[0] == 0
    assert run("load", path)[0] == 0
    assert run("ranges", "--rows", 20)[0] == 0
    keys = run("ranges")[1].split()
    code, _, err = run("materialize", keys[0], "-c", config)
    assert code == 0, err
    assert run("verify")[0] == 0
    assert "1 done, 1 not begun" in run("status")[1]


def test_two_runs_at_once(pooled_url: str, database: Connection) -> None:
    store = ResultStore("f", "r")
    store.register(database, {})
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            with (
                open_database(pooled_url, wait_seconds=0) as ours,
                range_lease(ours, IdRange(first, first + 99), f"run {first}") as lease,
            ):
                for i in range(first, first + 100):
                    ours.run(store.write, [Summary(i, "s", 1, 1, False, "stop")], {i: b"\x00\\"}, lease)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[first]) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    query = "SELECT count(*), min(source_hash), max(source_hash) FROM sum_assets.generated_summary"
    assert database.execute(query).fetchone() == (300, b"\x00\\", b"\x00\\")


def test_limits_and_settings_reach_no_other_client(pooled_url: str, database: Connection, database_url: str) -> None:
    name = conninfo.conninfo_to_dict(database_url)["dbname"]
    database.execute(f"ALTER DATABASE {name} SET standard_conforming_strings = off".encode())
    database.execute(f"ALTER DATABASE {name} SET datestyle = 'German'".encode())
    settings = ["search_path", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]
    with connect(pooled_url) as one, connect(pooled_url) as two, psycopg.connect(pooled_url, autocommit=True) as other:
        query = "SELECT current_setting(s) FROM unnest(%s::text[]) AS s"
        before = other.execute(query, [settings]).fetchall()
        for connection in (one, two, one, two):
            with connection.transaction(), open_database(pooled_url) as ours, range_lease(ours, IdRange(1, 2), "r"):
                assert connection.execute("SHOW standard_conforming_strings").fetchone() == ("on",)
                assert connection.execute("SHOW datestyle").fetchone() == ("ISO, MDY",)
        assert other.execute(query, [settings]).fetchall() == before
