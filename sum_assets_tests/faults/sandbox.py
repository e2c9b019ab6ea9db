"""A sandbox for one try: a database, the runs on it, and the comparison with an undisturbed run."""

import contextlib
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import conninfo

from sum_assets.paths import URL_VARIABLE
from sum_assets_tests.faults import patches
from sum_assets_tests.faults.command import Patch, Run
from sum_assets_tests.faults.server import FIRST, SECOND, Row, Server

BATCH = 4
LEAD: dict[str, Any] = {"resources": {"gpu": {"config": {"engine": "lead", "batch_size": BATCH}}}}
#: The results under the published fingerprint of the abstracts now in the source.
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


@dataclass(frozen=True)
class Tally:
    """The damage that a case did to rows. `lost` and `twice` must be 0."""

    lost: int
    twice: int
    generated_again: int


class Sandbox:
    """One try: a database, the runs on it, and their results."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = f"try_{next(server.numbers)}"
        self.folder = server.folder / self.name
        self.folder.mkdir()
        server.admin(f"CREATE DATABASE {self.name} TEMPLATE template")
        self._runs: list[Run] = []
        #: The URL that its commands connect to, if another than its own.
        self.through: str | None = None

    def close(self) -> None:
        """End the runs that are left, and drop the database."""
        for run in self._runs:
            run.signal(signal.SIGKILL)
            run.process.join()
        self.server.admin(f"DROP DATABASE {self.name} WITH (FORCE)")
        shutil.rmtree(self.folder)

    @property
    def url(self) -> str:
        """The URL of this try's database."""
        return conninfo.make_conninfo(self.server.url, dbname=self.name)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of its runs."""
        return {
            URL_VARIABLE: self.through or self.url,
            "SUM_ASSETS_HOME": str(self.folder),
            "DAGSTER_HOME": "",
            patches.GENERATED: str(self.folder / "generated"),
        }

    def sql(self, query: str, *parameters: object) -> list[Any]:
        """Run a statement in the try's database, and return its rows."""
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
        """Start to materialize some ranges, or all, with `pause` seconds between two batches."""
        path = self.folder / f"run{len(self._runs)}.yaml"
        path.write_text(yaml.safe_dump(config))

        def patch_all() -> None:
            patches.count_and_slow(pause)
            patch()

        arguments = ["materialize", *(keys or (FIRST.key, SECOND.key)), "--config", str(path)]
        run = Run(arguments, self.environment, log or path.with_suffix(".log"), patch_all)
        self._runs.append(run)
        return run

    def start_held(self, batches: int, patch: Patch = lambda: None, config: dict[str, Any] = LEAD) -> Run:
        """Start to materialize all ranges, and hold the run at its nth generated batch until `go`."""
        held, go = self.folder / "held", self.folder / "go"

        def wait() -> None:
            held.touch()
            while not go.exists():
                time.sleep(0.02)

        def patch_all() -> None:
            patches.after_generate(wait, batches)
            patch()

        run = self.start(patch=patch_all, config=config)
        while not held.exists():
            assert run.process.is_alive(), run.output[-3000:]
            time.sleep(0.02)
        return run

    def go(self) -> None:
        """Let the held run continue."""
        (self.folder / "go").touch()

    def command(self, *arguments: str, patch: Patch = lambda: None) -> Run:
        """Start any command."""
        self._runs.append(Run(arguments, self.environment, self.folder / f"run{len(self._runs)}.log", patch))
        return self._runs[-1]

    def execute(self, main: Patch, **environment: str) -> Run:
        """Start a function in its own process instead of a command line."""
        log = self.folder / f"run{len(self._runs)}.log"
        self._runs.append(Run([], self.environment | environment, log, lambda: None, main))
        return self._runs[-1]

    def run(self, *keys: str, config: dict[str, Any] = LEAD, patch: Patch = lambda: None, pause: float = 0.0) -> Run:
        """Materialize, and return the run when it has ended."""
        started = self.start(*keys, config=config, patch=patch, pause=pause)
        started.wait()
        return started

    def finish(self, *keys: str, config: dict[str, Any] = LEAD, patch: Patch = lambda: None) -> None:
        """Run again without a disturbance. Raises AssertionError if this fails."""
        ended = self.run(*keys, config=config, patch=patch)
        assert ended.process.exitcode == 0, ended.output[-3000:]

    def rows(self) -> int:
        """Return the number of committed results."""
        query = (
            "SELECT (SELECT count(*) FROM sum_assets.generated_summary) + count(*) FROM sum_assets.rejected_abstract"
        )
        return int(self.sql(query)[0][0])

    def wait_for_rows(self, rows: int, run: Run) -> None:
        """Wait until so many results are committed."""
        while self.rows() < rows:
            assert run.process.is_alive(), run.output[-3000:]
            time.sleep(0.02)

    def snapshot(self) -> dict[Row, str]:
        """Return the results by table and ID."""
        return {(table, i): value for table, i, value in self.sql(_SNAPSHOT)}

    def tally(
        self, config: dict[str, Any] = LEAD, edits: str = "", rejected: Sequence[int] = (), patch: Patch = lambda: None
    ) -> Tally:
        """Compare the tables, row by row, with those of an undisturbed run on the same source.

        `edits` are applied to its source before it runs. The IDs in `rejected` must be rejected in this sandbox only.
        """
        expected = dict(self._reference(config, edits, patch))
        for i in rejected:
            expected.pop(("generated", i))
            expected.pop(("published", i))
            expected["rejected", i] = "engine_error"
        actual = self.snapshot()
        lost = sum(actual.get(row) != value for row, value in expected.items())
        extra = len(actual.keys() - expected.keys())
        repeated = self.sql("SELECT count(*) - count(DISTINCT (fingerprint, abstract_id, source_hash)) FROM audit")
        return Tally(lost, extra + int(repeated[0][0]), self.generated_again())

    def generated_again(self) -> int:
        """Count how often the engine generated the same text again under the same settings."""
        log = self.folder / "generated"
        times = Counter(log.read_text().splitlines()) if log.exists() else Counter()
        return sum(n - 1 for n in times.values())

    def _reference(self, config: dict[str, Any], edits: str, patch: Patch) -> dict[Row, str]:
        key = json.dumps([config, edits], sort_keys=True)  # the model's folder is the same in all tries
        if key not in self.server.references:
            with open_sandbox(self.server) as reference:
                if edits:
                    reference.sql(edits)
                reference.finish(config=config, patch=patch)
                self.server.references[key] = reference.snapshot()
        return self.server.references[key]


@contextlib.contextmanager
def open_sandbox(server: Server) -> Iterator[Sandbox]:
    """Yield a new sandbox, and remove it at the end."""
    sandbox = Sandbox(server)
    try:
        yield sandbox
    finally:
        sandbox.close()
