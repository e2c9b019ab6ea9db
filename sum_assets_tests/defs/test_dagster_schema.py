"""Dagster's own statements end as ours do where the network swallows their answer."""

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sum_assets.database import watch
from sum_assets.defs.instance import open_instance
from sum_assets.defs.storage import SortedPartitionsStorage
from sum_assets.paths import URL_VARIABLE
from sum_assets_tests.database.proxy import proxy


def test_a_swallowed_answer_ends_the_wait(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(watch, "ASK_EVERY", 0.3)
    monkeypatch.setattr(watch, "ANSWER_WITHIN", 0.3)
    with proxy(database_url) as (url, swallowing):
        monkeypatch.setenv(URL_VARIABLE, url)
        with open_instance() as instance:
            storage = instance.event_log_storage
            assert isinstance(storage, SortedPartitionsStorage)
            with storage._engine.connect() as connection:
                connection.execute(text("SELECT pg_sleep(1.5)"))
                swallowing.swallow()
                began = time.monotonic()
                with pytest.raises(OperationalError):
                    connection.execute(text("SELECT 1"))
                assert time.monotonic() - began < 30
            assert watch.silent_lately()
