"""While the engine generates from one window, the next one is read and prepared."""

import threading
from collections.abc import Sequence
from typing import cast

import pytest
from psycopg import Connection

from sum_assets import pipeline
from sum_assets.database.reconnect import open_database
from sum_assets.database.results import ResultStore
from sum_assets.id_range import IdRange
from sum_assets.range_report import RangeResult
from sum_assets.summarizer import Abstract, GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.engines.lead_engine import LeadEngine
from sum_assets.summarizer.resolved_settings import LeadSettings


class Preparing(LeadEngine):
    """Records what it prepares, and fails on it where it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        settings = resolve_settings(GpuSettings(engine="lead", batch_size=4), SummarizerSettings())
        super().__init__(cast("LeadSettings", settings))
        self.fails = fails
        self.prepared: list[list[int]] = []

    def prepare(self, abstracts: Sequence[Abstract]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.prepared.append(sorted(a.abstract_id for a in abstracts))
        if self.fails:
            raise ValueError("the tokenizer fails on one of them")


def summarize(url: str, database: Connection, engine: Preparing, monkeypatch: pytest.MonkeyPatch) -> RangeResult:
    """Summarize 30 rows, of which 20 is blank, in windows of 5, 10, 10 and 5."""
    monkeypatch.setattr(pipeline, "FIRST_WINDOW", 5)
    monkeypatch.setattr(pipeline, "WINDOW", 10)
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
    # Whether the second window is read before the engine is open is a race.
    assert engine.prepared[-2:] == [[i for i in range(16, 26) if i != 20], [26, 27, 28, 29, 30]]
    assert result.beside["tokenize"] > 0


def test_what_cannot_be_prepared_is_left_to_the_engine(
    database_url: str, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Preparing(fails=True)
    result = summarize(database_url, database, engine, monkeypatch)
    assert engine.prepared
    assert (result.summarized, result.rejected) == (29, {"empty": 1})
