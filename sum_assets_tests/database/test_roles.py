"""Which roles are made for whom, and what is refused before anything is changed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection, conninfo, sql

from sum_assets.database.connection import connect
from sum_assets.database.roles import Roles, make_roles, parse_roles
from sum_assets.defs.instance import open_instance, register_ranges, registered_ranges
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.paths import URL_VARIABLE

Run = Callable[..., tuple[int, str, str]]
ROLES = Roles("r_owner", "r_writer", "r_reader")


@pytest.fixture(autouse=True)
def _no_roles(server_url: str) -> Iterator[None]:
    """Drop the roles of a test: they are those of the whole server."""
    yield
    with psycopg.connect(server_url, autocommit=True) as server:
        databases = server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test_%'").fetchall()
        roles = server.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'r\\_%'").fetchall()
        for (name,) in databases:
            with psycopg.connect(conninfo.make_conninfo(server_url, dbname=name), autocommit=True) as connection:
                for (role,) in roles:
                    connection.execute(sql.SQL("REASSIGN OWNED BY {} TO postgres").format(sql.Identifier(role)))
                    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        for (role,) in roles:
            server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("lab", ["lab_owner", "lab_writer", "lab_reader"]),
        ("a, B-c ,d", ["a", "B-c", "d"]),
        ("", None),
        ("a,b", None),
        ("a,b,a", None),
        ("a,,b", None),
        ("a,public,b", None),
        ("pg_x", None),
        ("x" * 60, None),
    ],
)
def test_names(text: str, names: list[str] | None) -> None:
    if names:
        assert parse_roles(text).names == names
    else:
        with pytest.raises(UserError, match=r"does not name three roles. Give a prefix, `--roles lab`"):
            parse_roles(text)


def test_an_administrator_who_is_no_superuser(
    server_url: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    name = conninfo.conninfo_to_dict(empty_database_url)["dbname"]
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute("CREATE ROLE r_boss LOGIN CREATEROLE")
        server.execute(f"ALTER DATABASE {name} OWNER TO r_boss; REVOKE ALL ON DATABASE {name} FROM PUBLIC".encode())
    boss = conninfo.make_conninfo(empty_database_url, user="r_boss")
    monkeypatch.setenv(URL_VARIABLE, boss)
    with connect(boss) as connection:
        connection.execute("CREATE SCHEMA own; CREATE TABLE own.text (id int, abstract text)")
    code, out, err = run("init", "--source", "own.text", "--id-column", "id", "--roles", "r")
    assert (code, "made r_owner, r_writer, r_reader; r_owner owns the tables" in out, err) == (0, True, ""), err
    for _ in range(2):
        assert run("init", "--roles", "r")[::2] == (0, "")
        assert run("init", "--source", "own.text", "--id-column", "id")[::2] == (0, "")
    with connect(boss) as connection:
        query = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('sum_assets', 'dagster')"
        assert connection.execute(query).fetchall() == [("r_owner",)]


def test_a_former_owner_is_told_what_it_lacks(
    server_url: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    name = conninfo.conninfo_to_dict(empty_database_url)["dbname"]
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute("CREATE ROLE r_app LOGIN")
        server.execute(f"GRANT CREATE ON DATABASE {name} TO r_app".encode())
    app_url = conninfo.make_conninfo(empty_database_url, user="r_app")
    monkeypatch.setenv(URL_VARIABLE, app_url)
    assert run("init")[0] == 0
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    code, _, err = run("init", "--roles", "r")
    assert (code, "r_app owned tables, and has no rights on them now" in err) == (0, True), err
    with connect(empty_database_url) as connection:
        connection.execute(err.partition("go on running: ")[2].encode())
    monkeypatch.setenv(URL_VARIABLE, app_url)
    with open_instance() as instance:
        register_ranges(instance, [IdRange(1, 5)])


def test_a_role_that_could_do_more_is_refused(database: Connection) -> None:
    with open_instance():
        pass
    for statement, message in (
        ("CREATE ROLE r_reader SUPERUSER", "r_reader is a superuser, whom nothing is refused"),
        (
            "ALTER ROLE r_reader NOSUPERUSER; CREATE ROLE r_writer; GRANT r_writer TO r_reader",
            'r_reader has the rights of r_writer. Take them away, REVOKE "r_writer" FROM "r_reader"',
        ),
        (
            "REVOKE r_writer FROM r_reader; CREATE ROLE r_owner; GRANT r_owner TO r_writer",
            "r_writer has the rights of r_owner",
        ),
    ):
        database.execute(statement.encode())
        with pytest.raises(UserError, match=message):
            make_roles(database, ROLES)
        query = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname IN ('sum_assets', 'dagster')"
        assert database.execute(query).fetchall() == [("postgres",), ("postgres",)]
    database.execute("REVOKE r_owner FROM r_writer")
    assert make_roles(database, ROLES).made == []


def test_nothing_is_created_where_the_tables_are(
    database: Connection, run: Run, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Neither by the storage nor by a command: each statement of this kind is an error here."""
    with open_instance() as instance:
        register_ranges(instance, [IdRange(1, 5)])
    database.execute(
        "CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'refused: %', tg_tag; END $$; "
        "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA', 'CREATE TABLE', "
        "'CREATE INDEX', 'ALTER TABLE', 'DROP TABLE', 'CREATE VIEW') EXECUTE FUNCTION public.refuse()"
    )
    with open_instance() as instance:
        assert registered_ranges(instance) == [IdRange(1, 5)]
        instance.optimize_for_webserver(1000, 100, 1)
        register_ranges(instance, [IdRange(6, 9)])
    for command in (("init",), ("ranges",), ("status",)):
        assert run(*command)[::2] == (0, ""), command


def test_the_rights_by_hand_of_earlier_versions_are_enough(
    database: Connection, database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open_instance():
        pass
    database.execute(
        "CREATE TABLE public.article (id int, abstract text); INSERT INTO public.article VALUES (7, 'A text.')"
    )
    assert run("init", "--source", "public.article", "--id-column", "id")[0] == 0
    database.execute("CREATE ROLE r_hand LOGIN")
    for grant in (
        "USAGE ON SCHEMA sum_assets, dagster",
        "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sum_assets, dagster",
        "USAGE ON ALL SEQUENCES IN SCHEMA sum_assets, dagster",
        "SELECT ON public.article",
    ):
        database.execute(f"GRANT {grant} TO r_hand".encode())
    monkeypatch.setenv(URL_VARIABLE, conninfo.make_conninfo(database_url, user="r_hand"))
    assert run("ranges", "--rows", "5")[0] == 0
    config = tmp_path / "run.yaml"
    config.write_text("resources: {gpu: {config: {engine: lead}}}")
    code, _, err = run("materialize", run("ranges")[1].strip(), "-c", config)
    assert code == 0, err
    for command in ("status", "verify", "ranges"):
        assert run(command)[::2] == (0, ""), command


def test_a_schema_that_somebody_made_for_the_role_is_enough(
    server_url: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    with connect(empty_database_url) as connection:
        connection.execute("CREATE ROLE r_app LOGIN")
        connection.execute("CREATE SCHEMA sum_assets AUTHORIZATION r_app; CREATE SCHEMA dagster AUTHORIZATION r_app")
    monkeypatch.setenv(URL_VARIABLE, conninfo.make_conninfo(empty_database_url, user="r_app"))
    assert run("init")[::2] == (0, "")


def test_a_role_that_may_make_nothing_is_told_who_does(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    with connect(empty_database_url) as connection:
        connection.execute("CREATE ROLE r_none LOGIN")
    none = conninfo.make_conninfo(empty_database_url, user="r_none")
    monkeypatch.setenv(URL_VARIABLE, none)
    code, _, err = run("init")
    assert (code, "may not make or migrate the schema sum_assets" in err) == (1, True), err
    assert "Dagster's tables are missing" in run("ranges")[2]
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    assert run("init")[0] == 0
    monkeypatch.setenv(URL_VARIABLE, none)
    assert "This role may not use the schema dagster" in run("ranges")[2]
