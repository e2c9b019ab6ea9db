"""What `work` keeps from range to range: the device and the loaded model, and nothing that a run counts."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from psycopg import Connection

from sum_assets.database.device_losses import record_loss
from sum_assets.database.reconnect import open_database
from sum_assets.defs.instance import materialize, register_ranges
from sum_assets.defs.work import WorkReport, work
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.summarizer import GpuSettings
from sum_assets.summarizer.device_lease import device_lease
from sum_assets.summarizer.engines.transformers_engine import TransformersGenerator
from sum_assets_tests.tiny_models import save_untrained_t5, sentence

RANGES = [IdRange(1, 10), IdRange(11, 20), IdRange(21, 30)]
Work = Callable[..., WorkReport]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_untrained_t5(tmp_path / "model", seed=1)
    return tmp_path / "model"


@pytest.fixture
def config(model: Path) -> dict[str, Any]:
    summarizer = {"model": str(model), "prompt": "", "max_input_tokens": 32, "max_output_tokens": 16}
    gpu = {"device": "cpu", "precision": "float32", "batch_size": 4}
    return {"resources": {"summarizer": {"config": summarizer}, "gpu": {"config": gpu}}}


@pytest.fixture
def do_work(database: Connection, instance: dg.DagsterInstance, config: dict[str, Any]) -> Work:
    """Take three ranges of ten sentences, and call `between` after each."""
    query = "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, %s)"
    with database.cursor() as cursor:
        cursor.executemany(query, [(i, sentence(i, 5 + i % 9)) for i in range(1, 31)])
    register_ranges(instance, RANGES)

    def take(between: Callable[[], object] = lambda: None) -> WorkReport:
        with open_database() as opened:
            return work(instance, opened, RANGES, config, lambda _: between())

    return take


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The revisions of the models that are loaded, as they are."""
    loaded: list[str] = []
    load = TransformersGenerator.__init__

    def counted(self: TransformersGenerator, resolved: Any, *rest: Any, **options: Any) -> None:
        loaded.append(resolved.files.revision)
        load(self, resolved, *rest, **options)

    monkeypatch.setattr(TransformersGenerator, "__init__", counted)
    return loaded


def metadata(instance: dg.DagsterInstance, name: str) -> list[Any]:
    """Return what the summaries of each range have under a name."""
    found = []
    for id_range in RANGES:
        filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey("summaries"), asset_partitions=[id_range.key])
        made = instance.fetch_materializations(filters, limit=1).records[0].asset_materialization
        assert made
        found.append(made.metadata[name].value)
    return found


def texts(database: Connection) -> list[str | None]:
    """Return the published summary of each abstract."""
    query = "SELECT abstract_id, summary FROM sum_assets.abstract_summary"
    found: dict[int, str] = dict(database.execute(query).fetchall())
    return [found.get(i) for i in range(1, 31)]


def test_the_model_is_loaded_once_and_writes_what_a_fresh_one_does(
    do_work: Work, loads: list[str], instance: dg.DagsterInstance, database: Connection, config: dict[str, Any]
) -> None:
    assert do_work().done == RANGES
    assert len(loads) == 1
    written = texts(database)
    assert len(set(written)) > 20
    first, *later = metadata(instance, "seconds_load_model")
    assert max(later) < first
    assert [len(table.records) for table in metadata(instance, "phases")] == [7, 7, 7]
    assert metadata(instance, "summarized") == [10, 10, 10]
    for id_range in RANGES:
        again = config | {"ops": {"summaries": {"config": {"overwrite": True}}}}
        assert materialize(instance, id_range.key, None, again).success
    assert len(loads) == 4, "other runs load it themselves"
    assert texts(database) == written
    assert len(set(metadata(instance, "fingerprint"))) == 1


def test_a_model_that_changes_between_two_ranges_is_loaded_anew(
    do_work: Work, loads: list[str], model: Path, database: Connection, instance: dg.DagsterInstance
) -> None:
    changed: list[bool] = []

    def change() -> None:
        if not changed:
            save_untrained_t5(model, seed=2)
            changed.append(True)

    assert do_work(change).done == RANGES
    assert len(loads) == len(set(loads)) == 2
    first, second, third = metadata(instance, "fingerprint")
    assert (first != second, second == third) == (True, True)
    of_both = texts(database)
    database.execute("TRUNCATE sum_assets.generated_summary, sum_assets.abstract_summary")
    database.execute("UPDATE sum_assets.range_count SET counted_at = NULL")
    assert do_work().done == RANGES
    of_new = texts(database)
    assert of_both[10:] == of_new[10:]
    assert of_both[:10] != of_new[:10]


def test_memory_and_counters_are_those_of_the_run(
    do_work: Work, loads: list[str], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first range takes much memory, the second runs out of it."""
    generate = TransformersGenerator._generate
    ranges: list[str] = []

    def needy(self: TransformersGenerator, batch: Any) -> Any:
        if not ranges:
            np.ones(2**25).sum()  # 256 MiB
        if len(ranges) == 1:
            ranges.append("failed")
            raise MemoryError
        return generate(self, batch)

    monkeypatch.setattr(TransformersGenerator, "_generate", needy)
    assert do_work(lambda: ranges.append("done")).done == RANGES
    assert metadata(instance, "out_of_memory") == [0, 1, 0]
    assert metadata(instance, "batch_size") == [4, 2, 4]
    assert len(loads) == 2, "a batch size that was halved is not that of the next run"
    much, less, _ = metadata(instance, "peak_process_mib")
    assert less < much - 128


def test_the_device_is_held_from_range_to_range(do_work: Work) -> None:
    told, taken = threading.Event(), threading.Event()

    def another_run() -> None:
        with device_lease(GpuSettings(device="cpu"), lambda _: told.set()):
            taken.set()

    another = threading.Thread(target=another_run, daemon=True)
    held: list[bool] = []

    def between() -> None:
        if not held:
            another.start()
        held.append(told.wait(20) and not taken.is_set())

    do_work(between)
    assert held == [True] * 3
    assert taken.wait(20)


def test_a_lost_device_ends_it(
    do_work: Work, instance: dg.DagsterInstance, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is for other processes."""
    generate = TransformersGenerator._generate
    ranges: list[str] = []

    def lose(self: TransformersGenerator, batch: Any) -> Any:
        if not ranges:
            return generate(self, batch)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for _ in range(2):  # so that Dagster's retry in this process fails at once
        record_loss(database, "cpu", "gone", "earlier")
    monkeypatch.setattr(TransformersGenerator, "_generate", lose)
    with pytest.raises(UserError, match=r"The device is lost to this process: .*Run this again, in a fresh process"):
        do_work(lambda: ranges.append("done"))
    runs = {run.tags["dagster/partition"]: run.status.value for run in instance.get_runs()}
    assert runs == {RANGES[0].key: "SUCCESS", RANGES[1].key: "FAILURE"}
