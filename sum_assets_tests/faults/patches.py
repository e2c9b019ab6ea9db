"""Patches that count, slow, or kill a run at named points. The product itself has no hooks for tests."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

import sum_assets.commit_queue
import sum_assets.pipeline
import sum_assets.summarizer.engine_environments
import sum_assets.summarizer.engines.subprocess_engine
from sum_assets.database import publish, results
from sum_assets.summarizer import Abstract, Phases, Rejection, Summarizer, Summary, watchdog

# Any: mypy does not let names be replaced that these modules import.
commit_queue: Any = sum_assets.commit_queue
pipeline: Any = sum_assets.pipeline
environments: Any = sum_assets.summarizer.engine_environments
subprocess_engine: Any = sum_assets.summarizer.engines.subprocess_engine

GENERATED = "SUM_ASSETS_TESTS_GENERATED"


def die() -> None:
    """End the process as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


def nth(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """Return a function that acts on its nth call."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            act()

    return count


def count_and_slow(pause: float) -> None:
    """Log each abstract that the engine returns, wait between two batches, and have each committed at once."""
    commit_queue.COMMIT_SECONDS = 0.0
    real, log = pipeline.summarize_each, Path(os.environ[GENERATED])

    def summarize_each(
        engine: Summarizer, abstracts: Sequence[Abstract], *others: Any
    ) -> Iterator[list[Summary | Rejection]]:
        texts = {a.abstract_id: a.text for a in abstracts}
        for finished in real(engine, abstracts, *others):
            time.sleep(pause)
            with log.open("a") as file:
                file.writelines(f"{r.abstract_id} {hash_of(texts[r.abstract_id])}\n" for r in finished)
            yield finished

    pipeline.summarize_each = summarize_each


def hash_of(text: str) -> str:
    """Return a key of a text that is the same in all processes."""
    return text.encode().hex()[-16:] + str(len(text))


def after_generate(act: Callable[[], object], number: int = 1) -> None:
    """Act when a batch is generated but not yet stored."""
    real, count = pipeline.summarize_each, nth(number, act)

    def summarize_each(*arguments: Any) -> Iterator[list[Summary | Rejection]]:
        for finished in real(*arguments):
            count()
            yield finished

    pipeline.summarize_each = summarize_each


def in_copy(act: Callable[[], object], number: int = 1) -> None:
    """Act in the middle of a COPY."""
    real, count = psycopg.Copy.write_row, nth(number, act)

    def write_row(copy: psycopg.Copy, row: Sequence[Any]) -> None:
        real(copy, row)
        count()

    psycopg.Copy.write_row = write_row  # type: ignore[method-assign, assignment]


def before_statement(module: Any, name: str, act: Callable[[], object], number: int = 1) -> None:
    """Act before a statement of `sql/`."""
    real, count = module.statement, nth(number, act)

    def statement(requested: str) -> Any:
        if requested == name:
            count()
        return real(requested)

    module.statement = statement


def around_commit(module: Any, act: Callable[[], object], number: int, *, after: bool) -> None:
    """Act just before a transaction commits, or just after."""
    real, count = module.transaction, nth(number, act)

    @contextmanager
    def transaction(connection: Connection, **options: Any) -> Iterator[None]:
        with real(connection, **options):
            yield
            if not after:
                count()
        if after:
            count()

    module.transaction = transaction


#: The points where a run can be killed, each with a function that kills it there the nth time.
POINTS: dict[str, Callable[[int], None]] = {
    "after generate": lambda n: after_generate(die, n),
    "in COPY": lambda n: in_copy(die, 4 * n),
    "before the upsert": lambda n: before_statement(results, "results_upsert_summaries", die, n),
    "before the commit": lambda n: around_commit(results, die, n, after=False),
    "after the commit": lambda n: around_commit(results, die, n, after=True),
    "in publish, before the delete": lambda n: before_statement(publish, "publish_delete", die, 1 + n % 2),
    "in publish, before the upsert": lambda n: before_statement(publish, "publish_upsert", die, 1 + n % 2),
    "in publish, before the commit": lambda n: around_commit(publish, die, 1 + n % 2, after=False),
    "in publish, after the commit": lambda n: around_commit(publish, die, 1 + n % 2, after=True),
}


def engine_fails_on(abstract_id: int, how: str) -> None:
    """Make the lead engine raise on an abstract, or leave it out."""
    from sum_assets.summarizer.engines.lead_engine import LeadEngine

    real = LeadEngine.summarize

    def summarize(engine: Any, abstracts: Any, phases: Phases) -> Iterator[list[Summary | Rejection]]:
        for finished in real(engine, abstracts, phases):
            ids = [r.abstract_id for r in finished]
            if how == "raise" and abstract_id in ids:
                raise ValueError("the engine fails on it")
            yield [r for r in finished if r.abstract_id != abstract_id]

    LeadEngine.summarize = summarize  # type: ignore[method-assign, assignment]


def engine_hangs_on(abstract_id: int) -> None:
    """Make the lead engine hang on an abstract, with one second as the watchdog's limit."""
    from sum_assets.summarizer.engines.lead_engine import LeadEngine

    real = LeadEngine.summarize
    watchdog.HANG_LIMIT = 1.0

    def summarize(engine: Any, abstracts: Any, phases: Phases) -> Iterator[list[Summary | Rejection]]:
        for finished in real(engine, abstracts, phases):
            if abstract_id in [r.abstract_id for r in finished]:
                time.sleep(600)
            yield finished

    LeadEngine.summarize = summarize  # type: ignore[method-assign, assignment]


def batches_fit(rows: int) -> None:
    """Make batches of more rows run out of memory."""
    import torch

    from sum_assets.summarizer.engines.transformers_engine import TransformersGenerator

    real = TransformersGenerator._generate

    def generate(self: Any, batch: Sequence[list[int]]) -> Any:
        if len(batch) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, batch)

    TransformersGenerator._generate = generate  # type: ignore[method-assign]


def shuffle(seed: int) -> None:
    """Hand the rows to the engine in another order."""
    import random

    real = pipeline.summarize_each

    def summarize_each(engine: Summarizer, abstracts: Sequence[Abstract], *others: Any) -> Any:
        return real(engine, random.Random(seed).sample(list(abstracts), len(abstracts)), *others)

    pipeline.summarize_each = summarize_each


def set_clock_back() -> None:
    """Set the clock of this process back by an hour."""
    real = time.time
    time.time = lambda: real() - 3600


#: A worker that copies the first words of each prompt. It dies or hangs on a prompt of `bad` tokens.
_WORKER = """
import json, os, signal, sys, time
bad, how = int(sys.argv[-2]), sys.argv[-1]
settings = json.loads(sys.stdin.readline())
print(json.dumps({"ready": {"device_name": "abacus"}}), flush=True)
for line in sys.stdin:
    for index, ids in enumerate(json.loads(line)["prompts"]):
        if len(ids) == bad:
            if how == "hang":
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.03)
        print(json.dumps({"done": [[index, [*ids[:4], settings["stops"][0]]]]}), flush=True)
    print(json.dumps({"end": {"peak_device_bytes": None}}), flush=True)
"""


def copying_worker(folder: Path, bad: int = 0, how: str = "") -> None:
    """Replace OpenVINO's worker by a quick one that ignores the model."""
    script = folder / f"worker-{os.getpid()}.py"
    script.write_text(_WORKER.replace("sys.argv[-2]", f'"{bad}"').replace("sys.argv[-1]", f'"{how}"'))
    environments.python_of = lambda *_: Path(sys.executable)
    subprocess_engine.exported = lambda resolved: resolved.files.folder
    subprocess_engine.program = lambda _: script
    subprocess_engine.ANSWER_LIMIT = 1.0
    environments.versions_of = lambda _: {"openvino-genai": "1"}
    # The name leads to the asset.
    asset: Any = sys.modules["sum_assets.defs.assets.corpus"]
    asset.require_gate = lambda *_: False
