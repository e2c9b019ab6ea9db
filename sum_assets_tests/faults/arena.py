"""A PostgreSQL and a Dagster of the suite's own, real runs in processes of their own, and what they left behind."""

import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import conninfo

import sum_assets.summarizer.engines.transformers_engine  # noqa: F401  (so that no run has to)
from sum_assets.cli import main as cli
from sum_assets.database import embedded
from sum_assets.database.processes import process_start
from sum_assets.database.schema import migrate, point_source
from sum_assets.defs.instance import open_instance, register_ranges
from sum_assets.id_range import IdRange
from sum_assets.paths import DEMO_VARIABLE, URL_VARIABLE
from sum_assets_tests.faults import patches
from sum_assets_tests.tiny_models import sentence

FIRST, SECOND = IdRange(1, 48), IdRange(49, 96)
BATCH = 4
LEAD: dict[str, Any] = {"resources": {"gpu": {"config": {"engine": "lead", "batch_size": BATCH}}}}
NOTHING = {5: None, 17: "", 29: " \n\t "}
#: The results of the published fingerprint, of what is in the source now.
_SNAPSHOT = """
WITH chosen AS (SELECT mode() WITHIN GROUP (ORDER BY fingerprint) AS fingerprint FROM sum_assets.abstract_summary)
SELECT 'generated', abstract_id, summary FROM sum_assets.generated_summary JOIN chosen USING (fingerprint)
WHERE abstract_id IN (SELECT id FROM article)
UNION ALL
SELECT 'rejected', abstract_id, reason FROM sum_assets.rejected_abstract JOIN chosen USING (fingerprint)
WHERE abstract_id IN (SELECT id FROM article)
UNION ALL
SELECT 'published', abstract_id, summary FROM sum_assets.abstract_summary
"""
#: Every write of a result that was committed.
_AUDIT = """
CREATE TABLE public.audit (fingerprint text, abstract_id bigint, source_hash bytea);
CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.audit VALUES (NEW.fingerprint, NEW.abstract_id, NEW.source_hash); RETURN NEW; END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON sum_assets.generated_summary
    FOR EACH ROW EXECUTE FUNCTION public.audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON sum_assets.rejected_abstract
    FOR EACH ROW EXECUTE FUNCTION public.audit();
"""
Row = tuple[str, int]
Patch = Callable[[], object]


@dataclass(frozen=True)
class Tally:
    """What a case did to the rows: all but the last must be nothing."""

    lost: int
    twice: int
    generated_again: int


def text(i: int) -> str | None:
    """Return the abstract of an ID: four sentences, of which the lead copies three."""
    if i in NOTHING:
        return NOTHING[i]
    return " ".join(f"{sentence(4 * i + k, 4 + (i + k) % 5).capitalize()}." for k in range(4))


class Run:
    """A command line in a process of its own, forked from this one, which has imported everything already."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], log: Path, patch: Patch, main: Patch = cli.main
    ) -> None:
        self._log = log
        self.process = multiprocessing.get_context("fork").Process(
            target=_command_line, args=(arguments, environment, log, patch, main)
        )
        self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def signal(self, number: int) -> None:
        """Send a signal to it alone, a SIGKILL to its whole group too, which it may not have opened yet."""
        for send in (os.killpg, os.kill) if number == signal.SIGKILL else (os.kill,):
            with contextlib.suppress(ProcessLookupError):
                send(self.pid, number)

    def wait(self, seconds: float = 90) -> int:
        """Return its exit code."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.signal(signal.SIGKILL)
            self.process.join()
            raise AssertionError(f"it hangs: {self.said[-2000:]}")
        return self.process.exitcode


def _command_line(arguments: Sequence[str], environment: dict[str, str], log: Path, patch: Patch, main: Patch) -> None:
    os.setsid()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 1
    try:
        patch()
        sys.argv = ["sum-assets", *arguments]
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    os._exit(code)


class Server:
    """The server of the suite, and a database of it that all tries are copies of."""

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
        """A small T5 that copies, trained on first use."""
        from sum_assets_tests.tiny_models import save_copier

        save_copier("t5", self.folder / "t5")
        return self.folder / "t5"

    def start(self) -> None:
        """Start, after a crash too: in another process, since pgserver remembers in each what it has started."""
        end = time.monotonic() + 60  # it gives up after ten seconds, which a busy machine may need
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
        """Stop as an operator in a hurry does: no checkpoint, sessions cut off."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        while process_start(pid):
            time.sleep(0.02)

    def admin(self, query: str) -> None:
        """Run a statement outside of the databases of the tries."""
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
        """Stop, and leave nothing."""
        embedded.stop(self.data)
        shutil.rmtree(self.folder, ignore_errors=True)


class Arena:
    """One try: a database, runs on it, and how it ended."""

    def __init__(self, home: Server) -> None:
        self.server = home
        self.name = f"try_{next(home.numbers)}"
        self.folder = home.folder / self.name
        self.folder.mkdir()
        home.admin(f"CREATE DATABASE {self.name} TEMPLATE template")
        self._runs: list[Run] = []

    def close(self) -> None:
        """End what still runs, and drop the database."""
        for run in self._runs:
            run.signal(signal.SIGKILL)
            run.process.join()
        self.server.admin(f"DROP DATABASE {self.name} WITH (FORCE)")
        shutil.rmtree(self.folder)

    @property
    def url(self) -> str:
        """The database of this try."""
        return conninfo.make_conninfo(self.server.url, dbname=self.name)

    @property
    def environment(self) -> dict[str, str]:
        """What its processes see."""
        return {
            URL_VARIABLE: self.url,
            "SUM_ASSETS_HOME": str(self.folder),
            "DAGSTER_HOME": "",
            patches.GENERATED: str(self.folder / "generated"),
        }

    def sql(self, query: str, *parameters: object) -> list[Any]:
        """Run a statement in the try's database; return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def start(
        self,
        *keys: str,
        config: dict[str, Any] = LEAD,
        patch: Patch = lambda: None,
        pause: float = 0.0,
        log: Path | None = None,
    ) -> Run:
        """Begin to materialize the ranges, all without keys; `pause` seconds between two batches."""
        path = self.folder / f"run{len(self._runs)}.yaml"
        path.write_text(yaml.safe_dump(config))

        def patch_all() -> None:
            patches.count_and_slow(pause)
            patch()

        arguments = ["materialize", *(keys or (FIRST.key, SECOND.key)), "--config", str(path)]
        run = Run(arguments, self.environment, log or path.with_suffix(".log"), patch_all)
        self._runs.append(run)
        return run

    def start_held(self, batches: int, patch: Patch = lambda: None) -> Run:
        """Begin to materialize all ranges, up to so many batches generated, one less committed; goes on at `go`."""
        held, go = self.folder / "held", self.folder / "go"

        def rest() -> None:
            held.touch()
            while not go.exists():
                time.sleep(0.02)

        def patch_all() -> None:
            patches.after_generate(rest, batches)
            patch()

        run = self.start(patch=patch_all)
        while not held.exists():
            assert run.process.is_alive(), run.said[-3000:]
            time.sleep(0.02)
        return run

    def go(self) -> None:
        """Let the held run go on."""
        (self.folder / "go").touch()

    def execute(self, main: Patch, **environment: str) -> Run:
        """Begin something else than a command line of ours."""
        log = self.folder / f"run{len(self._runs)}.log"
        self._runs.append(Run([], self.environment | environment, log, lambda: None, main))
        return self._runs[-1]

    def run(self, *keys: str, config: dict[str, Any] = LEAD, patch: Patch = lambda: None, pause: float = 0.0) -> Run:
        """Materialize; the run has ended."""
        started = self.start(*keys, config=config, patch=patch, pause=pause)
        started.wait()
        return started

    def finish(self, *keys: str, config: dict[str, Any] = LEAD, patch: Patch = lambda: None) -> None:
        """Run again, undisturbed: it must succeed."""
        ended = self.run(*keys, config=config, patch=patch)
        assert ended.process.exitcode == 0, ended.said[-3000:]

    def rows(self) -> int:
        """How many results are committed."""
        query = (
            "SELECT (SELECT count(*) FROM sum_assets.generated_summary) + count(*) FROM sum_assets.rejected_abstract"
        )
        return int(self.sql(query)[0][0])

    def wait_for_rows(self, rows: int, run: Run) -> None:
        """Wait until so many results are committed."""
        while self.rows() < rows:
            assert run.process.is_alive(), run.said[-3000:]
            time.sleep(0.02)

    def snapshot(self) -> dict[Row, str]:
        """Return the rows of the tables."""
        return {(table, i): value for table, i, value in self.sql(_SNAPSHOT)}

    def tally(
        self, config: dict[str, Any] = LEAD, edits: str = "", rejected: Sequence[int] = (), patch: Patch = lambda: None
    ) -> Tally:
        """Hold the tables against those of a run that nothing disturbed, row by row.

        It had the same source: `edits` are made before it. The rows in `rejected` must be so here, and nowhere else.
        """
        expected = dict(self._reference(config, edits, patch))
        for i in rejected:
            expected.pop(("generated", i))
            expected.pop(("published", i))
            expected["rejected", i] = "engine_error"
        found = self.snapshot()
        lost = sum(found.get(row) != value for row, value in expected.items())
        extra = len(found.keys() - expected.keys())
        repeated = self.sql("SELECT count(*) - count(DISTINCT (fingerprint, abstract_id, source_hash)) FROM audit")
        return Tally(lost, extra + int(repeated[0][0]), self.generated_again())

    def generated_again(self) -> int:
        """Count what the engine handed over more than once, of the same text under the same settings."""
        log = self.folder / "generated"
        times = Counter(log.read_text().splitlines()) if log.exists() else Counter()
        return sum(n - 1 for n in times.values())

    def _reference(self, config: dict[str, Any], edits: str, patch: Patch) -> dict[Row, str]:
        key = json.dumps([config, edits], sort_keys=True)  # the model's folder is the same in all tries
        if key not in self.server.references:
            with arena(self.server) as other:
                if edits:
                    other.sql(edits)
                other.finish(config=config, patch=patch)
                self.server.references[key] = other.snapshot()
        return self.server.references[key]


@contextlib.contextmanager
def arena(home: Server) -> Iterator[Arena]:
    """Give a fresh try, and clean up after it."""
    opened = Arena(home)
    try:
        yield opened
    finally:
        opened.close()
