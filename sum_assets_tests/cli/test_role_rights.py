"""Writer and reader can do what the documentation says, and nothing else: every command, each kind of statement."""

import io
import json
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import typer
import yaml
from psycopg import conninfo, errors
from typer.main import get_command

from sum_assets.cli import console
from sum_assets.cli import main as cli
from sum_assets.cli.main import app
from sum_assets.database import embedded, schema, statements
from sum_assets.database.connection import connect
from sum_assets.paths import URL_VARIABLE
from sum_assets_tests.doc_blocks import blocks
from sum_assets_tests.test_docs import commands

PAGE = "how-to/your-own-server.md"
ROLES = ("alice", "bob", "analyst", "lab_writer", "lab_reader", "lab_owner")
#: Those that do not use the database of the URL: the embedded server's, the machine's, and the demo, which has its own.
ELSEWHERE = {"db start", "db stop", "engine install", "demo", "simulate"}
#: It points the view at a table, which is the owner's to do.
OWNERS = {"quickstart"}
POINT = ("init", "--source", "press.article", "--id-column", "pmcid")
KEYS = ["0000000001-0000000030", "0000000031-0000000060"]
TABLES = (
    "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE n.nspname IN ('sum_assets', 'dagster') AND c.relkind = 'r' ORDER BY 1"
)


@dataclass
class Lab:
    """A database of a lab, as its superuser and as members of its writer and reader roles."""

    admin: str
    alice: str
    bob: str


@pytest.fixture(scope="module")
def lab(server_url: str) -> Iterator[Lab]:
    """Roles made as the documentation says, on a table of the user's in a schema that others may not use."""
    urls = [conninfo.make_conninfo(server_url, dbname="lab", user=user) for user in ("postgres", "alice", "bob")]
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute("CREATE DATABASE lab")
        server.execute("REVOKE ALL ON DATABASE lab FROM PUBLIC")
        server.execute("CREATE ROLE analyst LOGIN")
        with psycopg.connect(urls[0], autocommit=True) as admin:
            admin.execute("CREATE SCHEMA press; CREATE TABLE press.article (pmcid text PRIMARY KEY, abstract text)")
            admin.execute(
                "INSERT INTO press.article SELECT 'PMC' || i, 'A text. ' || i FROM generate_series(1, 60) AS i"
            )
            assert run(urls[0], *POINT)[0] == 0
            admin.execute("GRANT SELECT ON sum_assets.source_abstract, press.article TO analyst")
            for block in blocks(PAGE, "Roles"):
                assert run(urls[0], *shlex.split(block)[1:])[::2] == (0, "")
            for block in blocks(PAGE, "Roles", "sql"):
                admin.execute(block.encode())
        yield Lab(*urls)
        server.execute("DROP DATABASE lab WITH (FORCE)")
        for role in ROLES:
            server.execute(f"DROP ROLE {role}".encode())


def run(url: str, *words: object) -> tuple[int, str, str]:
    """Run a command line in this process, on a database: exit code, standard output, standard error."""
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        patch.setenv(URL_VARIABLE, url)
        patch.setenv("DAGSTER_HOME", "")
        patch.setattr(console.err, "width", 160)
        patch.setattr(sys, "argv", ["sum-assets", *map(str, words)])
        patch.setattr(os, "execv", lambda *_: sys.exit(0))
        with pytest.raises(SystemExit) as exited:
            cli.main()
    return int(exited.value.code or 0), out.getvalue(), err.getvalue().strip()


def privileges(lab: Lab, relation: str) -> list[str]:
    with connect(lab.admin) as connection:
        query = "SELECT acl::text FROM unnest((SELECT relacl FROM pg_class WHERE oid = %s::regclass)) AS acl ORDER BY 1"
        return [row[0] for row in connection.execute(query, [relation])]


def test_init_can_be_run_again_and_the_rights_of_others_stay(lab: Lab) -> None:
    relations = ("sum_assets.source_abstract", "press.article", "sum_assets.id_range", "dagster.runs")
    before = [privileges(lab, relation) for relation in relations]
    assert before[0] == [
        "analyst=r/lab_owner",
        "lab_owner=arwdDxtm/lab_owner",
        "lab_reader=r/lab_owner",
        "lab_writer=r/lab_owner",
    ]
    assert {"analyst=r/postgres", "lab_owner=r/postgres"} < set(before[1])
    code, out, err = run(lab.admin, "init", "--roles", "lab")
    assert (code, "made" in out, err) == (0, False, "")
    assert run(lab.admin, *POINT)[0] == 0
    assert run(lab.admin, "init", "--roles", "lab_owner,lab_writer, lab_reader")[0] == 0
    assert [privileges(lab, relation) for relation in relations] == before
    with connect(lab.admin) as connection:
        query = "SELECT count(*) FROM pg_authid WHERE rolname LIKE 'lab%' AND (rolcanlogin OR rolpassword IS NOT NULL)"
        assert connection.execute(query).fetchone() == (0,)


def test_what_a_later_version_makes_is_the_owners_and_others_may_use_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = schema.NEWEST + 1
    (tmp_path / "migrations").mkdir()
    path = tmp_path / "migrations" / f"{newer:04}_later.sql"
    path.write_text("CREATE TABLE sum_assets.later (id bigint GENERATED ALWAYS AS IDENTITY, s serial);")
    (tmp_path / "schema_owner.sql").write_text((statements.SQL_DIR / "schema_owner.sql").read_text())
    try:
        with connect(lab.admin) as connection, monkeypatch.context() as patch:
            statements.statement.cache_clear()
            patch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, path])
            patch.setattr(schema, "NEWEST", newer)
            patch.setattr(statements, "SQL_DIR", tmp_path)
            assert schema.migrate(connection) == [path.stem]
        query = "SELECT tableowner FROM pg_tables WHERE tablename = 'later'"
        with connect(lab.alice) as alice, connect(lab.bob) as bob:
            assert alice.execute(query).fetchone() == ("lab_owner",)
            alice.execute("INSERT INTO sum_assets.later DEFAULT VALUES")
            assert bob.execute("SELECT s FROM sum_assets.later").fetchall() == [(1,)]
            for connection in (alice, bob):
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute("DROP TABLE sum_assets.later")
    finally:
        statements.statement.cache_clear()
        with connect(lab.admin) as connection:
            connection.execute("DROP TABLE IF EXISTS sum_assets.later")
            connection.execute("DELETE FROM sum_assets.schema_migration WHERE version = %s", [newer])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a run configuration and a sweep of the engine that needs no model."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "corpus.csv").write_text("abstract_id,abstract\n1,A text.\n")
    (folder / "run.yaml").write_text("resources: {gpu: {config: {engine: lead}}}")
    lead = {"engine": "lead"}
    presets = {"baseline": lead | {"naive": True}, "reference": lead | {"precision": "float32"}}
    sweep = {"sample": 4, "replicates": 1, "warm_up": 0, "presets": presets}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    return folder


@pytest.fixture(scope="module")
def walked(lab: Lab, files: Path) -> set[str]:
    """The commands that the writer has run, each with success. It leaves a published range and a measurement."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = ("-c", files / "run.yaml")
    paths = set()

    def walk(path: str, *words: object, fails: str = "") -> str:
        paths.add(path)
        code, out, err = run(lab.alice, *path.split(), *words)
        assert (code, fails in err) == (bool(fails), True), (path, err)
        assert "This role may not" not in err, (path, err)
        return out

    assert walk("init") == "schema sum_assets is up to date\n"
    walk("load", files / "corpus.csv")
    walk("ranges", "--rows", 30)
    assert walk("ranges").split() == KEYS
    walk("ranges", "--repair")
    walk("materialize", KEYS[0], *config)
    assert "0 ID ranges done here" in walk("work", KEYS[0], *config)
    walk("ranges", "--hours", 1)
    with connect(lab.bob) as bob:
        (fingerprint,) = bob.execute("SELECT fingerprint FROM sum_assets.generated_summary").fetchone() or ("",)
    walk("unpublish", "--yes")
    walk("discard", "--fingerprint", fingerprint, "--yes")
    walk("materialize", KEYS[0], *config)
    walk("publish", fingerprint[:8], "--yes", fails="cannot be published under")
    walk("verify")
    walk("export", files / "exported")
    assert json.loads(walk("status", "--json"))["totals"] == {"done": 1, "not begun": 1}
    walk("compare", fails="Two are needed")
    walk("sweep", files / "sweep.yaml")
    walk("benchmark", "--presets", "baseline")
    walk("report")
    walk("largest-batch", "reference", "--memory-limit-mib", 1, fails="Not even a batch of one fits")
    walk("devices reset")
    walk("backfill", "--url", f"http://127.0.0.1:{port}", fails="No Dagster webserver answers")
    walk("doctor", "--port", port, *config)
    walk("ui", "--port", port)
    return paths


def test_the_writer_runs_every_command(walked: set[str]) -> None:
    leaves = {
        path.removeprefix("sum-assets ")
        for path, command in commands(get_command(app))
        if not isinstance(command, typer.core.TyperGroup)
    }
    assert walked == leaves - ELSEWHERE - OWNERS


def refused(connection: psycopg.Connection, statement: str) -> bool:
    """Return whether a statement is refused for want of a right; what it did is undone."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except errors.InsufficientPrivilege:
        return True
    except errors.NotNullViolation:  # it may write
        return False
    return False


#: What nobody but the owner may do in our schemas, and nobody at all of ours with the user's table.
FORBIDDEN = (
    "INSERT INTO press.article VALUES ('PMC99', 'x')",
    "UPDATE press.article SET abstract = 'x'",
    "DELETE FROM press.article",
    "TRUNCATE press.article",
    "DROP TABLE press.article",
    "ALTER TABLE press.article ADD COLUMN x text",
    "CREATE INDEX ON press.article (abstract)",
    "CREATE TABLE press.x (i int)",
    "INSERT INTO sum_assets.source_abstract (abstract) VALUES ('x')",
    "UPDATE sum_assets.source_abstract SET abstract = 'x'",
    "DELETE FROM sum_assets.source_abstract",
    "DROP VIEW sum_assets.source_abstract",
    "CREATE OR REPLACE VIEW sum_assets.source_abstract AS SELECT 1::bigint AS abstract_id, 'x'::text AS abstract",
    "DELETE FROM sum_assets.schema_migration",
    "DELETE FROM dagster.alembic_version",
    "CREATE TABLE sum_assets.x (i int)",
    "CREATE TABLE dagster.x (i int)",
    "CREATE FUNCTION sum_assets.x() RETURNS int LANGUAGE sql RETURN 1",
    "ALTER FUNCTION sum_assets.source_hash OWNER TO CURRENT_USER",
    "DROP FUNCTION sum_assets.source_hash",
    "DROP SCHEMA sum_assets CASCADE",
    "DROP SCHEMA dagster CASCADE",
    "CREATE SCHEMA x",
    "CREATE ROLE x",
    "SET ROLE lab_owner",
    "GRANT lab_owner TO CURRENT_USER",
    "ALTER DATABASE lab SET work_mem = '1MB'",
)


def test_what_is_not_theirs_is_refused_to_writer_and_reader(lab: Lab) -> None:
    with connect(lab.alice) as alice, connect(lab.bob) as bob:
        tables = [row[0] for row in alice.execute(TABLES)]
        assert {"sum_assets.abstract_summary", "dagster.runs"} < set(tables)
        for table in tables:
            for verb in ("DROP TABLE {}", "ALTER TABLE {} ADD COLUMN x int", "TRUNCATE {}"):
                assert refused(alice, verb.format(table)), (verb, table)
                assert refused(bob, verb.format(table)), (verb, table)
            assert not refused(bob, f"SELECT * FROM {table} LIMIT 1")
            for verb in (
                "DELETE FROM {} WHERE false",
                "INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM {} WHERE false",
            ):
                assert refused(bob, verb.format(table, table)), table
        assert not refused(alice, "SELECT * FROM sum_assets.source_abstract")
        for statement in FORBIDDEN:
            assert refused(alice, statement), statement
            assert refused(bob, statement), statement
        assert not refused(alice, "CREATE TEMPORARY TABLE x (i int)")
        assert refused(bob, "CREATE TEMPORARY TABLE x (i int)")


#: What the reader runs, and other commands that use the database.
READS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("verify",),
    ("ranges",),
    ("report",),
    ("export", "exported", "--range", KEYS[0]),
    ("status", "--json"),
    ("verify", "--json"),
)
WRITES: tuple[tuple[str, ...], ...] = (
    POINT,
    ("init", "--roles", "lab"),
    ("init", "--track-changes"),
    ("load", "corpus.csv"),
    ("ranges", "--rows", "5", "--reset", "--yes"),
    ("ranges", "--hours", "1", "--reset", "--yes"),
    ("materialize", KEYS[0], "-c", "run.yaml"),
    ("work", KEYS[1], "-c", "run.yaml"),
    ("backfill", "--url", "http://127.0.0.1:1"),
    ("sweep", "sweep.yaml"),
    ("benchmark", "--force"),
    ("unpublish", "--yes"),
    ("discard", "--fingerprint", "f", "--yes"),
    ("devices", "reset"),
)


def reads_and_writes_not(url: str, refusal: str) -> None:
    """Check that the commands that read answer, and that the others are refused with a sentence."""
    for command in READS:
        code, out, err = run(url, *command)
        assert (code, bool(out), err) == (0, True, ""), (command, err)
    assert json.loads(run(url, "status", "--json")[1])["totals"] == {"done": 1, "not begun": 1}
    for command in WRITES:
        code, _, err = run(url, *command)
        assert (code, bool(re.search(refusal, err))) == (1, True), (command, err)


@pytest.mark.usefixtures("walked")
def test_the_reader_reads(lab: Lab, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    reads_and_writes_not(lab.bob, "This role may not")


def test_the_writer_may_not_point_at_another_table(lab: Lab) -> None:
    for words, message in (
        (POINT, "This role may not look up press.article: permission denied for schema press"),
        (("init", "--source", "sum_assets.corpus_abstract"), "This role may not replace sum_assets.source_abstract"),
        (("init", "--roles", "lab"), "This role may not grant what the roles need"),
        (("init", "--roles", "other"), 'CREATE ROLE "other_owner"; CREATE ROLE "other_writer";'),
    ):
        code, _, err = run(lab.alice, *words)
        assert (code, message in err) == (1, True), err


@pytest.mark.usefixtures("walked")
def test_sessions_that_are_read_only(lab: Lab, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the pool of runs was never set up."""
    with connect(lab.admin) as connection:
        set_pool = "INSERT INTO dagster.concurrency_limits (concurrency_key, \"limit\") VALUES ('gpu', 1)"
        connection.execute("DELETE FROM dagster.concurrency_limits; DELETE FROM dagster.concurrency_slots")
        monkeypatch.chdir(files)
        try:
            with monkeypatch.context() as patch:
                patch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
                reads_and_writes_not(lab.alice, "read-only|This role may not")
        finally:
            connection.execute(set_pool.encode())


@pytest.fixture
def standby_url(lab: Lab) -> Iterator[str]:
    """A standby of the server, for the reader."""
    primary = str(conninfo.conninfo_to_dict(lab.admin)["host"])
    library = embedded._pgserver()
    server = library.get_server(primary, cleanup_mode=None, start=False)

    def execute(program: str, *words: str) -> None:
        library.pgexec(program, words, bin_path=server.bin_path, user=server.system_user)

    with tempfile.TemporaryDirectory(prefix="sum_assets_") as folder:
        if server.system_user:
            shutil.chown(folder, server.system_user)
        data = f"{folder}/data"
        execute("pg_basebackup", "-h", primary, "-U", "postgres", "-D", data, "-R", "-c", "fast", "--no-sync")
        execute("pg_ctl", "-w", "-D", data, "-o", f"-h '' -k {folder}", "-l", f"{folder}/log", "start")
        try:
            yield conninfo.make_conninfo(lab.bob, host=folder)
        finally:
            execute("pg_ctl", "-w", "-m", "immediate", "-D", data, "stop")


@pytest.mark.usefixtures("walked")
def test_a_standby(standby_url: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    with connect(standby_url) as standby:
        assert standby.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    reads_and_writes_not(standby_url, "read-only|This role may not")
