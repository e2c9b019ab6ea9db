"""The PostgreSQL server of the suite, and the database that every try starts from."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import conninfo

from sum_assets.database import embedded
from sum_assets.database.processes import process_start
from sum_assets.database.schema import migrate
from sum_assets.database.source_table import point_source
from sum_assets.defs.instance import open_instance, register_ranges
from sum_assets.id_range import IdRange
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE
from sum_assets_tests.tiny_models import sentence

FIRST, SECOND = IdRange(1, 48), IdRange(49, 96)
#: The abstracts with nothing to summarize, by ID.
NOTHING = {5: None, 17: "", 29: " \n\t "}
#: Records every committed write of a result.
_AUDIT = """
CREATE TABLE public.audit (fingerprint text, abstract_id bigint, source_hash bytea);
CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.audit VALUES (NEW.fingerprint, NEW.abstract_id, NEW.source_hash); RETURN NEW; END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON sum_assets.generated_summary
    FOR EACH ROW EXECUTE FUNCTION public.audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON sum_assets.rejected_abstract
    FOR EACH ROW EXECUTE FUNCTION public.audit();
"""
#: A table and an ID.
Row = tuple[str, int]


def text(i: int) -> str | None:
    """Return the abstract of an ID: four sentences, of which the engine `lead` copies three."""
    if i in NOTHING:
        return NOTHING[i]
    return " ".join(f"{sentence(4 * i + k, 4 + (i + k) % 5).capitalize()}." for k in range(4))


class Server:
    """The suite's PostgreSQL server, with the template of each try's database."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sum_assets_faults_"))
        self.data = self.folder / "postgres"
        for variable in (DEMO_VARIABLE, "DAGSTER_HOME"):
            os.environ.pop(variable, None)
        os.environ["SUM_ASSETS_HOME"] = str(self.folder)
        self.start()
        self.numbers = itertools.count()
        self.references: dict[str, dict[Row, str]] = {}
        self._make_template()

    @functools.cached_property
    def model(self) -> Path:
        """The folder of a small T5 that copies its input, trained on first use."""
        from sum_assets_tests.tiny_models import save_copier

        save_copier("t5", self.folder / "t5")
        return self.folder / "t5"

    def start(self) -> None:
        """Start the server, after a crash too. Another process does it, since pgserver starts a server once in each."""
        end = time.monotonic() + 60  # pgserver gives up after ten seconds, which a busy machine may need
        while not self._answers():
            assert time.monotonic() < end, "the server does not start"
            starter = multiprocessing.get_context("fork").Process(target=embedded.start, args=[self.data])
            starter.start()
            starter.join()

    def _answers(self) -> bool:
        if url := embedded.running_url(self.data):
            self.url = url
            with contextlib.suppress(psycopg.Error), psycopg.connect(url):
                return True
        return False

    def crash(self) -> None:
        """Stop the server at once: no checkpoint, and all sessions are terminated."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        while process_start(pid):
            time.sleep(0.02)

    def admin(self, query: str) -> None:
        """Run a statement outside the databases of the tries."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(query.encode())

    def _make_template(self) -> None:
        self.admin("CREATE DATABASE template")
        url = conninfo.make_conninfo(self.url, dbname="template")
        with psycopg.connect(url, autocommit=True) as connection:
            migrate(connection)
            connection.execute("CREATE TABLE article (id bigint PRIMARY KEY, body text)")
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO article VALUES (%s, %s)", [(i, text(i)) for i in range(1, 97)])
            point_source(connection, "public.article", "id", "body")
            connection.execute(_AUDIT)
        os.environ[URL_VARIABLE] = url
        with open_instance() as instance:
            register_ranges(instance, [FIRST, SECOND])
        os.environ.pop("DAGSTER_HOME", None)

    def close(self) -> None:
        """Stop the server, and delete its files."""
        embedded.stop(self.data)
        shutil.rmtree(self.folder, ignore_errors=True)
