"""Dagster finds the same database as everyone else, and starts empty where there is none."""

import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from dagster_postgres import PostgresRunStorage
from psycopg import Connection, conninfo

from sum_assets.database import watch
from sum_assets.defs import dagster_schema
from sum_assets.defs.definitions import defs
from sum_assets.defs.instance import POOL, open_instance, register_ranges, registered_ranges, set_pool
from sum_assets.defs.resources import PostgresResource
from sum_assets.defs.sensors import grow_id_ranges
from sum_assets.id_range import IdRange
from sum_assets.paths import URL_VARIABLE, project_file


def test_two_homes_on_one_database_share_ranges(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_ranges(instance, [IdRange(1, 5)])
    shutil.copy(project_file("dagster.yaml"), tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_instance() as other:
        assert registered_ranges(other) == [IdRange(1, 5)]
        assert isinstance(other.run_storage, PostgresRunStorage)


def test_the_pool_is_limited_before_its_first_run_and_keeps_what_a_user_sets(instance: dg.DagsterInstance) -> None:
    def limits(of: dg.DagsterInstance) -> dict[str, int]:
        return {pool.name: pool.limit for pool in of.event_log_storage.get_pool_limits()}

    assert limits(instance) == {POOL: 1}
    set_pool(instance, 4)
    with open_instance() as again:
        assert limits(again) == {POOL: 4}


def test_without_a_database_history_is_empty_and_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUM_ASSETS_HOME", str(tmp_path))
    with open_instance() as instance:
        assert registered_ranges(instance) == []
        assert not isinstance(instance.run_storage, PostgresRunStorage)


def test_tables_of_dagster_stay_out_of_the_users_schemas(instance: dg.DagsterInstance, database: Connection) -> None:
    tables = database.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'runs'").fetchall()
    assert tables == [("dagster",)]


def test_a_role_that_may_not_create_schemas_opens_the_storage(
    instance: dg.DagsterInstance, database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_ranges(instance, [IdRange(1, 5)])
    role = f"reader_{uuid.uuid4().hex}"
    database.execute(f"CREATE ROLE {role} LOGIN".encode())
    try:
        database.execute(f"GRANT USAGE ON SCHEMA dagster TO {role}".encode())
        database.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA dagster TO {role}".encode())
        monkeypatch.setenv(URL_VARIABLE, conninfo.make_conninfo(database_url, user=role))
        with open_instance() as other:
            assert registered_ranges(other) == [IdRange(1, 5)]
    finally:
        database.execute(f"DROP OWNED BY {role}".encode())
        database.execute(f"DROP ROLE {role}".encode())


def test_any_form_of_the_url_opens_the_storage(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = conninfo.conninfo_to_dict(database_url)
    folder, name = str(parts["host"]), str(parts["dbname"])
    (tmp_path / "services").write_text(f"[lab]\nhost={folder}\ndbname={name}\nuser=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    quoted = quote(folder, safe="")
    forms = [
        f"postgresql://postgres:a%40b%2Fc@/{name}?host={quoted}",
        f"postgresql://postgres@127.0.0.1:1,{quoted}:5432/{name}?target_session_attrs=read-write",
        f"host=/nowhere,{folder} port=5432 dbname={name} user=postgres target_session_attrs=primary",
        "service=lab",
        "postgresql://?service=lab",
    ]
    for number, url in enumerate(forms):
        monkeypatch.setenv(URL_VARIABLE, url)
        with open_instance() as instance:
            register_ranges(instance, [IdRange(number, number)])
            instance.optimize_for_webserver(1000, 100, 1)
            assert registered_ranges(instance) == [IdRange(i, i) for i in range(number + 1)]


def test_the_sensor_adds_a_range_as_soon_as_it_is_full(instance: dg.DagsterInstance, database: Connection) -> None:
    def tick() -> list[str]:
        context = dg.build_sensor_context(instance=instance, resources={"postgres": PostgresResource()})
        result = grow_id_ranges(context)
        if isinstance(result, dg.SkipReason):
            return []
        assert isinstance(result, dg.SensorResult)
        return [key for request in result.dynamic_partitions_requests or [] for key in request.partition_keys]

    def store(lo: int, hi: int) -> None:
        database.execute(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
            "SELECT i, 'x' FROM generate_series(%s::int, %s) i",
            [lo, hi],
        )

    assert tick() == []
    store(100, 109)
    register_ranges(instance, [IdRange(100, 104), IdRange(105, 109)])
    store(110, 113)
    assert tick() == []
    store(120, 126)
    store(95, 99)
    assert tick() == [IdRange(95, 99).key, IdRange(110, 120).key, IdRange(121, 125).key]


def test_definitions_load_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://127.0.0.1:1/none")
    dg.Definitions.validate_loadable(defs)


def test_definitions_load_nothing_heavy() -> None:
    """Every process of Dagster loads them: four in each run."""
    code = "import sys, sum_assets.defs.definitions; print({'torch', 'scipy.stats', 'matplotlib'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("lost", ["ended by the server", "silent"])
def test_a_kept_connection_that_is_lost_is_opened_anew(
    database: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    def process() -> int:
        with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
            return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())

    kept = process()
    assert process() == kept
    if lost == "silent":
        watch.note_answer(given=False)
    else:
        monkeypatch.setattr(dagster_schema, "_FRESH", 0.0)
        database.execute("SELECT pg_terminate_backend(%s, 5000)", [kept])
    assert process() == process() != kept
    watch.note_answer(given=True)
