"""After any sequence of operations on a corpus, what is published is complete, and nothing is lost."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import Connection

from sum_assets.database.publish import publish, unpublish
from sum_assets.database.range_lease import holders, range_lease
from sum_assets.database.ranges import new_ranges
from sum_assets.database.reconnect import Database, open_database
from sum_assets.database.results import ResultStore
from sum_assets.database.verify import uncovered, verify_range
from sum_assets.errors import StoppedError, UserError
from sum_assets.id_range import IdRange
from sum_assets.pipeline import summarize_range
from sum_assets.summarizer import GpuSettings, SummarizerSettings, open_summarizer, resolve_settings
from sum_assets.summarizer.engines.lead_engine import lead

TEXTS = st.sampled_from([None, "", " \n", "One. Two. Three. Four.", "An abstract of one sentence.", "<|im_end|> 'x'"])
IDS = st.integers(1, 60)


class Killed(BaseException):
    """Ends a run as the end of its process would."""


class Corpus(RuleBasedStateMachine):
    """A corpus, its ranges, and runs on them."""

    database: Database
    connection: Connection

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[IdRange] = []
        self.runs = 0
        self.connection.execute(
            "TRUNCATE sum_assets.corpus_abstract, sum_assets.summarizer_config, sum_assets.generated_summary, "
            "sum_assets.rejected_abstract, sum_assets.abstract_summary, sum_assets.range_lease, "
            "sum_assets.engine_hang, sum_assets.range_run"
        )
        self.resolved = resolve_settings(GpuSettings(engine="lead", batch_size=3), SummarizerSettings())

    @initialize(texts=st.dictionaries(IDS, TEXTS.filter(lambda t: t is not None), min_size=5))
    def load(self, texts: dict[int, str]) -> None:
        for i, text in texts.items():
            self.edit(i, text)
        self.cut()

    @rule(i=IDS, text=TEXTS.filter(lambda t: t is not None))
    def edit(self, i: int, text: str) -> None:
        self.connection.execute(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s) "
            "ON CONFLICT (abstract_id) DO UPDATE SET abstract = excluded.abstract",
            [i, text],
        )

    @rule(i=IDS)
    def delete(self, i: int) -> None:
        self.connection.execute("DELETE FROM sum_assets.corpus_abstract WHERE abstract_id = %s", [i])

    @rule()
    def cut(self) -> None:
        with suppress(UserError):  # nothing to cut
            self.ranges = sorted(self.ranges + new_ranges(self.connection, self.ranges, 12))

    def summarize(self, id_range: IdRange, **options: Any) -> None:
        self.runs += 1
        store = ResultStore(self.resolved.fingerprint, f"run {self.runs}", options.pop("overwrite", False))
        store.register(self.connection, {})
        summarize_range(self.database, id_range, lambda: open_summarizer(self.resolved), store, {}, **options)

    @precondition(lambda self: self.ranges)
    @rule(data=st.data(), limit=st.sampled_from([None, None, 1, 4]), overwrite=st.booleans())
    def run(self, data: st.DataObject, limit: int | None, overwrite: bool) -> None:
        with suppress(UserError):  # an empty range
            self.summarize(data.draw(st.sampled_from(self.ranges)), limit=limit, overwrite=overwrite)

    @precondition(lambda self: self.ranges)
    @rule(data=st.data(), batches=st.integers(0, 3))
    def stop(self, data: st.DataObject, batches: int) -> None:
        answers = iter([None] * batches)
        with suppress(UserError, StoppedError):
            self.summarize(data.draw(st.sampled_from(self.ranges)), stop=lambda: next(answers, "by a test"))

    @precondition(lambda self: self.ranges)
    @rule(data=st.data(), batches=st.integers(0, 3), terminated=st.booleans())
    def kill(self, data: st.DataObject, batches: int, terminated: bool) -> None:
        """After some batches the process ends, or its session, before a batch is committed."""
        left = iter(range(batches))
        real = ResultStore.write

        def write(store: ResultStore, connection: Connection, *arguments: Any) -> None:
            if next(left, None) is None:
                if not terminated:
                    raise Killed
                with connection.transaction():
                    real(store, connection, *arguments)
                    connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            real(store, connection, *arguments)

        with pytest.MonkeyPatch.context() as patch, suppress(Killed, UserError):
            patch.setattr(ResultStore, "write", write if not terminated else _once(write, real, batches))
            self.summarize(data.draw(st.sampled_from(self.ranges)))

    @precondition(lambda self: self.ranges)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        id_range = data.draw(st.sampled_from(self.ranges))
        with suppress(UserError), range_lease(self.database, id_range, "publisher") as lease:
            self.database.run(publish, id_range, self.resolved.fingerprint, lease)

    @precondition(lambda self: self.ranges)
    @rule(data=st.data())
    def unpublish(self, data: st.DataObject) -> None:
        unpublish(self.connection, data.draw(st.sampled_from([*self.ranges, None])))

    @invariant()
    def no_row_is_doubled_and_nobody_holds_a_range(self) -> None:
        for id_range in self.ranges:
            state = verify_range(self.connection, id_range)
            assert not state.duplicates
        assert not [holder for holder in holders(self.connection) if holder.alive]

    def teardown(self) -> None:
        """Resume and publish: all is clean, and the table is that of a quiet run."""
        self.cut()
        for id_range in self.ranges:
            self.summarize(id_range)
            publish(self.connection, id_range, self.resolved.fingerprint)
            state = verify_range(self.connection, id_range)
            assert state.sound
            assert state.complete
        assert uncovered(self.connection, self.ranges) == 0
        query = "SELECT abstract_id, abstract FROM sum_assets.source_abstract"
        source = {i: str(text) for i, text in self.connection.execute(query)}
        published = self.connection.execute("SELECT abstract_id, summary FROM sum_assets.abstract_summary").fetchall()
        assert dict(published) == {i: lead(text) for i, text in source.items() if text.strip()}


def _once(first: Any, then: Any, batches: int) -> Any:
    """Return a method that is `first` until its fault, then `then`."""
    calls = 0

    def method(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        (first if calls <= batches + 1 else then)(*arguments)

    return method


@pytest.fixture
def corpus(database_url: str, database: Connection) -> Iterator[type[Corpus]]:
    with open_database(database_url) as opened:
        Corpus.database, Corpus.connection = opened, database
        yield Corpus


def test_any_order_ends_clean(corpus: type[Corpus]) -> None:
    chosen = settings(max_examples=40, stateful_step_count=20, derandomize=True)
    chosen = settings(chosen, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(corpus, settings=chosen)
