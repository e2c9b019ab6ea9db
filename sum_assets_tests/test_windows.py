"""While the engine generates from one window, the next chunks are read and prepared."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import cast

import pytest
from psycopg import Connection

from sum_assets import pipeline, read_ahead
from sum_assets.database.reconnect import open_database
from sum_assets.database.results import ResultStore
from sum_assets.database.source import read_abstracts
from sum_assets.id_range import IdRange
from sum_assets.range_report import RangeResult
from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    Rejection,
    SummarizerSettings,
    Summary,
    resolve_settings,
)
from sum_assets.summarizer.engines.lead_engine import LeadEngine
from sum_assets.summarizer.resolved_settings import LeadSettings


class Preparing(LeadEngine):
    """Records what it prepares and gets, and fails to prepare where it is told to. Its first call waits for chunks."""

    def __init__(self, *, fails: bool = False) -> None:
        settings = resolve_settings(GpuSettings(engine="lead", batch_size=4), SummarizerSettings())
        super().__init__(cast("LeadSettings", settings))
        self.fails = fails
        self.prepared: list[list[int]] = []
        self.windows: list[list[int]] = []

    def prepare(self, abstracts: Sequence[Abstract]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.prepared.append(sorted(a.abstract_id for a in abstracts))
        if self.fails:
            raise ValueError("the tokenizer fails on one of them")

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        abstracts = list(abstracts)
        self.windows.append(sorted(a.abstract_id for a in abstracts))
        while len(self.windows) == 1 and len(self.prepared) < 3:
            time.sleep(0.01)
        yield from super().summarize(abstracts, phases)


def summarize(url: str, database: Connection, engine: Preparing, monkeypatch: pytest.MonkeyPatch) -> RangeResult:
    """Summarize 30 rows, of which 20 is blank, in chunks of 5, of which four may be read ahead."""
    monkeypatch.setattr(pipeline, "CHUNK", 5)
    monkeypatch.setattr(read_ahead.ReadAhead.start, "__defaults__", (4,))
    database.execute(
        "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) "
        "SELECT i, CASE WHEN i = 20 THEN '' ELSE format('Text %s.', i) END FROM generate_series(1, 30) i"
    )
    store = ResultStore("fingerprint", "run")
    with open_database(url) as opened:
        opened.run(store.register, {})
        return pipeline.summarize_range(opened, IdRange(1, 30), lambda: engine, store, {})


def test_the_next_windows_are_prepared_in_another_thread(
    database_url: str, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Preparing()
    result = summarize(database_url, database, engine, monkeypatch)
    assert (result.summarized, result.rejected) == (29, {"empty": 1})
    assert engine.prepared[:3] == [[6, 7, 8, 9, 10], [11, 12, 13, 14, 15], [16, 17, 18, 19]]
    assert list(chain(*engine.prepared)) == [i for i in range(6, 31) if i != 20]
    assert engine.windows[0] == [1, 2, 3, 4, 5], "the first is not waited for longer than one chunk takes"
    assert set(engine.windows[1]) >= set(range(6, 16)), "all that was ready"
    assert sorted(chain(*engine.windows)) == [i for i in range(1, 31) if i != 20]
    assert result.beside["tokenize"] > 0


def test_a_chunk_of_deleted_rows_is_not_the_end(
    database_url: str, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Preparing()

    def deleting(connection: Connection, ids: Sequence[int]) -> list[Abstract]:
        if 1 in ids:
            database.execute("DELETE FROM sum_assets.corpus_abstract WHERE abstract_id BETWEEN 1 AND 10")
        return read_abstracts(connection, ids)

    monkeypatch.setattr(pipeline, "read_abstracts", deleting)
    result = summarize(database_url, database, engine, monkeypatch)
    assert (result.summarized, result.rejected) == (19, {"empty": 1})


def test_what_cannot_be_prepared_is_left_to_the_engine(
    database_url: str, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Preparing(fails=True)
    result = summarize(database_url, database, engine, monkeypatch)
    assert engine.prepared
    assert (result.summarized, result.rejected) == (29, {"empty": 1})
