"""Several workers give what one gives, and lose nothing when they die, hang or fail."""

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import psutil
import pytest

from sum_assets.errors import EngineFaultError, UnsupportedError, WorkerError
from sum_assets.summarizer import (
    Abstract,
    EngineState,
    GpuSettings,
    Phases,
    Rejection,
    Summarizer,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.isolate_failures import summarize_each
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.parallel import batch_scheduler as scheduler
from sum_assets.summarizer.parallel.batch_scheduler import BatchScheduler, WorkerStats, cut
from sum_assets.summarizer.parallel.worker_pool import Pool
from sum_assets.summarizer.types import Output
from sum_assets_tests.summarizer.engines.test_transformers_engine import copier_settings
from sum_assets_tests.tiny_models import sentence

TEXTS = {i: sentence(10**6 + i, 6 + i % 20) for i in range(48)}
Results = Iterator[list[Summary | Rejection]]


def resolved(folder: Path, **gpu: object) -> ModelSettings:
    values = {"device": "cpu", "precision": "float32", "batch_size": 4, "workers_per_device": 2, **gpu}
    settings = resolve_settings(GpuSettings.model_validate(values), copier_settings(folder))
    assert isinstance(settings, ModelSettings)
    return settings


def summarize(engine: Summarizer, texts: dict[int, str]) -> Results:
    return summarize_each(engine, [Abstract(*item) for item in texts.items()], Phases())


def texts_of(lists: Results) -> dict[int, str]:
    results = [result for one in lists for result in one]
    assert len(results) == len({r.abstract_id for r in results}), "each comes once"
    return {r.abstract_id: r.text if isinstance(r, Summary) else f"rejected: {r.detail}" for r in results}


def processes() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "serve.py" in " ".join(p.cmdline())]


def test_two_processes_write_what_one_writes_and_one_that_is_killed_costs_nothing(
    t5: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts_of(summarize(open_summarizer(resolved(t5, workers_per_device=1)), TEXTS))
    before = set(processes())
    engine = open_summarizer(resolved(t5))
    first, second = workers = sorted(set(processes()) - before, key=lambda p: p.pid)
    assert texts_of(summarize(engine, TEXTS)) == expected
    lists = summarize(engine, TEXTS)
    some = next(lists)
    second.terminate()  # as whoever ends the run does with all of its processes; it ends with the run
    first.kill()
    assert texts_of(iter([some, *lists])) == expected
    assert second in processes()
    states = engine.state().workers
    assert [w.name for w in states] == ["worker 1 on cpu", "worker 2 on cpu"]
    assert sum(w.rows for w in states) == 2 * len(TEXTS)
    assert all(w.rows and 0 < w.busy <= 1 and w.quarantined is None for w in states)
    assert sum(w.restarts for w in states) <= 1
    # One that has stopped answering is replaced, and another does what it was at.
    monkeypatch.setattr(scheduler, "STRAGGLER_TIMEOUT", 0.5)
    lists = summarize(engine, TEXTS)
    some = next(lists)
    second.suspend()
    assert texts_of(iter([some, *lists])) == expected
    assert not set(workers) & set(processes()), "neither outlives its replacement"
    del engine


class Scripted:
    """A worker that writes its prompt; on some prompts, or always, it fails."""

    def __init__(self, bad: Sequence[list[int]] = (), broken: bool = False) -> None:
        self.bad, self.broken, self.starts, self.calls = bad, broken, 1, 0

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        self.calls += 1
        for index, ids in enumerate(prompts):
            if self.broken or ids in self.bad:
                self.starts += 1
                raise WorkerError("CUDA error: device-side assert triggered")
            yield [(index, ids)]

    def end(self) -> None:
        pass

    def state(self) -> EngineState:
        return EngineState("abacus", 4, 0, 8)


class Hanging(Scripted):
    """A worker that hangs on its first call until it is ended, or for a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.ended = threading.Event(), threading.Event()

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        if not self.calls:
            self.calls += 1
            self.began.set()
            self.ended.wait(60)
            raise WorkerError("it was ended")
        yield from super().generate(prompts)

    def end(self) -> None:
        self.ended.set()


class Once(Scripted):
    """A worker that fails on its first call, when another hangs."""

    def __init__(self, other: Hanging) -> None:
        super().__init__()
        self.other = other

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        self.broken = not self.calls
        self.other.began.wait()
        return super().generate(prompts)


def scripted(t5: Path, *workers: Scripted) -> tuple[Pool, list[list[int]]]:
    stats = [WorkerStats(f"worker {n}", "abacus") for n in range(len(workers))]
    pool = Pool(resolved(t5), {s: lambda w=w: w for s, w in zip(stats, workers, strict=True)})  # type: ignore[misc]
    return pool, [[row] * (40 - row) for row in range(40)]


def test_a_batch_that_two_workers_fail_on_ends_last_and_blames_neither(t5: Path) -> None:
    pool, prompts = scripted(t5, *(Scripted(bad=[[9] * 31]) for _ in range(3)))
    for _ in range(2 * scheduler.MAX_CONSECUTIVE_FAILURES):
        outputs = pool.generate(prompts)
        done = [index for finished in islice(outputs, 37) for index, _ in finished]
        assert set(range(40)) - set(done) == {9, 10, 11}, "the rest of the bad row's batch"
        assert len(done) == 37
        with pytest.raises(WorkerError, match="device-side assert"):
            next(outputs)
    assert [w.quarantined for w in pool.state().workers] == [None] * 3
    assert (pool.state().device_name, pool.state().peak_device_bytes) == ("abacus", 24)


def test_a_worker_that_keeps_failing_is_quarantined(t5: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken, good = Scripted(broken=True), Scripted()
    pool, prompts = scripted(t5, broken, good)
    for _ in range(4):
        outputs = dict(pair for finished in pool.generate(prompts) for pair in finished)
        assert outputs == dict(enumerate(prompts))
    assert broken.calls == scheduler.MAX_CONSECUTIVE_FAILURES
    assert "worker 0 was quarantined: it failed 3 times in a row on batches that others then finished" in caplog.text
    assert [w.quarantined is None for w in pool.state().workers] == [False, True]


def test_one_that_hangs_does_not_keep_what_another_failed_on(t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "STRAGGLER_TIMEOUT", 0.5)
    pool, prompts = scripted(t5, hanging := Hanging(), Once(hanging))
    began = time.monotonic()
    assert dict(pair for finished in pool.generate(prompts) for pair in finished) == dict(enumerate(prompts))
    assert time.monotonic() - began < 30, "the first was replaced when the other had done its batch"


def test_what_hung_is_no_measure_of_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "STRAGGLER_TIMEOUT", 0.5)
    monkeypatch.setattr(scheduler, "STRAGGLER_FACTOR", 100)
    hanging, also, good = (WorkerStats(f"worker {n}", "abacus") for n in range(3))
    batch_scheduler = BatchScheduler([[0], [1]], [hanging, also, good])
    batches = [batch_scheduler.acquire(hanging), batch_scheduler.acquire(also)]
    began = time.monotonic()
    for row in range(2):
        batch = batch_scheduler.acquire(good)
        assert batch
        assert batch is batches[row]
        batch_scheduler.deliver(good, batch, [(row, [7])])
        batch_scheduler.complete(good, batch)
    assert time.monotonic() - began < 20


def test_without_any_worker_no_row_is_blamed(t5: Path) -> None:
    pool, prompts = scripted(t5, Scripted(broken=True), Scripted(broken=True))
    for _ in range(5):
        with pytest.raises(WorkerError):
            list(pool.generate(prompts))
    for stats in pool._stats:
        stats.quarantine("for the test")
    with pytest.raises(EngineFaultError, match=r"No worker is left. worker 0: for the test; worker 1"):
        list(pool.generate(prompts))


def test_a_row_that_ends_every_worker_is_rejected_alone(t5: Path, echo: None) -> None:
    engine = open_summarizer(resolved(t5, engine="openvino", batch_size=2, precision="float32"))
    texts = {i: sentence(i, 10 if i == 5 else 6) for i in range(24)}
    assert texts_of(summarize(engine, texts)) == {
        i: "rejected: WorkerError: the worker of engine openvino ended with SIGKILL; its last words are above"
        if i == 5
        else " ".join(text.split()[1:])
        for i, text in texts.items()
    }


def test_batches_are_even_and_keep_their_limits() -> None:
    lengths = sorted((37 * i % 100 + 5 for i in range(1000)), reverse=True)

    def sizes(lengths: list[int], workers: int, **changes: object) -> list[int]:
        options: dict[str, object] = {"rows": 16, "tokens": None, "output": 10, "continuous": False, **changes}
        batches = cut(lengths, workers, **options)  # type: ignore[arg-type]
        assert [row for batch in batches for row in batch] == list(range(len(lengths)))
        return [len(batch) for batch in batches]

    assert set(sizes(lengths, 2)[:-1]) == {16}
    by_tokens = cut(lengths, 2, rows=16, tokens=1000, output=10, continuous=False)
    assert all(len(b) * (lengths[b[0]] + 10) <= 1000 for b in by_tokens)
    assert len(by_tokens[0]) < len(by_tokens[-2]), "many short ones go together, and few long ones"
    assert sizes(lengths[:16], 2) == [8, 8], "each worker has its share of a single batch"
    assert sizes([], 2) == []
    assert sizes([7], 2) == [1]
    falling = sizes(lengths, 2, continuous=True)
    assert falling == sorted(falling[:-1], reverse=True) + falling[-1:]
    assert len(falling) < 20
    assert min(falling[:-1]) == 16


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        ({"engine": "lead", "workers_per_device": 2}, "engine lead has no model to share out"),
        ({"device": "auto", "devices": ["cuda:77"]}, "device cuda:77: torch sees"),
        ({"device": "auto", "devices": "all"}, "devices all: torch sees no CUDA device"),
    ],
)
def test_what_cannot_be_batch_scheduler_out_is_named(t5: Path, gpu: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        resolved(t5, **gpu)


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        ({"device": "cpu", "devices": ["cpu"]}, "name device or devices, not both"),
        ({"devices": ["cpu", "cpu"]}, "devices names one twice"),
        ({"devices": ["cpu", "gpu"]}, "not 'gpu'"),
        ({"workers_per_device": 0}, "workers_per_device is at least 1"),
        ({"threads_per_worker": 0}, "threads_per_worker is at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_named(gpu: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GpuSettings.model_validate(gpu)


def test_workers_change_no_fingerprint(t5: Path) -> None:
    one = resolved(t5, workers_per_device=1)
    assert one.fingerprint == resolved(t5, workers_per_device=3, threads_per_worker=1).fingerprint
    assert resolved(t5, threads_per_worker=1).all_settings()["threads_per_worker"] == 1
