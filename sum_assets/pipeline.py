"""Summarizes one ID range: reads what is missing, generates, and commits, all three beside each other."""

import re
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from sum_assets.abstract import Abstract, Rejection, Summary
from sum_assets.commit_queue import CommitQueue
from sum_assets.database.connection import connect
from sum_assets.database.engine_hangs import Suspect, chunks, forget_hangs, record_hang, suspects
from sum_assets.database.range_lease import Lease, range_lease
from sum_assets.database.reconnect import Database
from sum_assets.database.results import ResultStore, storable_results
from sum_assets.database.run_rate import record_range_run
from sum_assets.database.source import read_abstracts
from sum_assets.database.watch import watched
from sum_assets.errors import StoppedError
from sum_assets.id_range import IdRange
from sum_assets.progress import Progress
from sum_assets.range_report import RangeResult
from sum_assets.read_ahead import CHUNK, ReadAhead
from sum_assets.summarizer import Phases, Summarizer
from sum_assets.summarizer.isolate_failures import health_check, summarize_each
from sum_assets.summarizer.roofline import Lengths

_NOT_BLANK = re.compile(r"\S")


def screen(abstract: Abstract) -> Rejection | None:
    """Return a rejection of an abstract that holds nothing to summarize, None for any other."""
    if abstract.is_null:
        return Rejection(abstract.abstract_id, "null", "the abstract is NULL")
    if abstract.text == "":
        return Rejection(abstract.abstract_id, "empty", "the abstract has no characters")
    if not _NOT_BLANK.search(abstract.text):
        return Rejection(abstract.abstract_id, "blank", f"the abstract is {len(abstract.text)} blank characters")
    return None


def summarize_range(
    database: Database,
    id_range: IdRange,
    open_engine: Callable[[], Summarizer],
    store: ResultStore,
    settings: dict[str, Any],
    *,
    limit: int | None = None,
    phases: Phases | None = None,
    on_progress: Callable[[Progress], object] = lambda _: None,
    stop: Callable[[], str | None] = lambda: None,
) -> RangeResult:
    """Summarize what a range lacks under the store's fingerprint, or its first `limit` by hash of the ID.

    Every abstract ends as a summary or as a rejection. The next window is read and tokenized, and what is finished is
    committed, while the engine generates: a kill costs the batch in flight, and what the commit queue held.
    `open_engine` is called only when there is something to generate, so not for a range without abstracts. Raises
    UserError where the range is another run's, and StoppedError where, between two batches, `stop` gives a reason.
    """
    phases = phases or Phases()
    loaded, started = phases.seconds()["load_model"], time.perf_counter()
    with (
        database.stopped_by(stop),
        database.beside() as beside,
        range_lease(database, id_range, store.run_id) as lease,
    ):
        with phases("read"):
            ids = database.run(store.pending, id_range, limit)
            suspected = database.run(suspects, store, ids)
        run = _RangeRun(beside, lease, store, phases, open_engine, len(ids), on_progress, stop)
        cut = ((chunk, chunk[0] not in suspected) for chunk in chunks(ids, suspected, CHUNK))
        with ReadAhead(cut, partial(run.read, database)) as reader, run.queue:
            while True:
                with phases("read"):
                    abstracts = reader.next_window()
                if abstracts is None:
                    break
                run.process(abstracts, suspected, reader.start)
            with phases("write"):
                run.queue.flush()
        if suspected:
            database.run(forget_hangs, store, id_range)
        if ids:
            seconds = time.perf_counter() - started - (phases.seconds()["load_model"] - loaded)
            is_pilot = limit is not None
            database.run(
                record_range_run, id_range, store.fingerprint, store.run_id, len(ids), seconds, is_pilot=is_pilot
            )
    return run.result(settings)


class _RangeRun:
    """One run on one range: takes it window by window, commits the results and counts them."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        store: ResultStore,
        phases: Phases,
        open_engine: Callable[[], Summarizer],
        total: int,
        on_progress: Callable[[Progress], object],
        stop: Callable[[], str | None],
    ) -> None:
        self._database, self._lease, self._store, self._phases = database, lease, store, phases
        self._open_engine, self._total, self._on_progress, self._stop = open_engine, total, on_progress, stop
        self._engine: Summarizer | None = None
        self._generated_at = 0.0
        self.queue = CommitQueue(self._commit)
        self._taken = 0
        self._reading = self._tokenizing = 0.0
        self._summarized = self._truncated = self._capped = 0
        self._lengths = Lengths()
        self._rejected: dict[str, int] = {}
        self._latencies: list[float] = []
        self._examples: list[tuple[int, str, str]] = []

    def read(self, database: Database, window: Sequence[int]) -> list[Abstract]:
        """Read the abstracts of a window, from a thread, and have the engine prepare them."""
        started = time.perf_counter()
        abstracts = database.run(read_abstracts, window)
        read = time.perf_counter()
        if self._engine:
            with suppress(Exception):  # `summarize` fails on it too, and there the abstract to blame is found
                self._engine.prepare([a for a in abstracts if not screen(a)])
        self._reading += read - started
        self._tokenizing += time.perf_counter() - read
        return abstracts

    def process(
        self, abstracts: Sequence[Abstract], suspected: Mapping[int, Suspect], read_on: Callable[[], object]
    ) -> None:
        """Bring one window of abstracts to results. A window holds suspects alone, or none."""
        window = {a.abstract_id: a for a in abstracts}
        rejections = [rejection for rejection in map(screen, abstracts) if rejection]
        if rejections:
            self._take(window, rejections)
        unusable = {r.abstract_id for r in rejections}
        usable = [a for a in abstracts if a.abstract_id not in unusable]
        if not usable:
            return
        self._stop_if_asked()
        engine = self._loaded_engine()
        read_on()  # not before: it is the engine that tokenizes
        suspect = suspected.get(usable[0].abstract_id)
        if suspect:
            health_check(engine)
        if suspect and suspect.to_blame and suspect.source_hash == usable[0].source_hash:
            detail = f"the engine hung on it {suspect.hangs} times, the last time alone"
            self._take(window, [Rejection(suspect.abstract_id, "engine_error", detail)])
            return
        for results in summarize_each(engine, usable, self._phases, partial(self._record_hang, window)):
            self._take(window, results)
            self._on_progress(Progress(self._taken, self._total, self._phases.total()))
            self._stop_if_asked()

    def result(self, settings: dict[str, Any]) -> RangeResult:
        """Return what the run did."""
        state = self._engine.state() if self._engine else None
        return RangeResult(
            id_range=self._lease.id_range,
            fingerprint=self._store.fingerprint,
            settings=settings,
            summarized=self._summarized,
            rejected=self._rejected,
            truncated=self._truncated,
            capped=self._capped,
            seconds=self._phases.total(),
            phases=self._phases.seconds(),
            beside={"read": self._reading, "tokenize": self._tokenizing, "write": self.queue.busy},
            latencies=self._latencies,
            engine=state,
            peak_process_bytes=peak_process_bytes() + ((state and state.peak_worker_bytes) or 0),
            examples=self._examples,
            lengths=self._lengths,
        )

    def _loaded_engine(self) -> Summarizer:
        if self._engine is None:
            with self._phases("load_model"):
                self._engine = self._open_engine()
        return self._engine

    def _stop_if_asked(self) -> None:
        reason, left = self._stop(), self._total - self._taken
        if reason and left > 0:
            raise StoppedError(
                f"Stopped {reason}, with {left} of {self._total} abstracts of {self._lease.id_range.key} left. "
                "Run it again: it goes on there."
            )

    def _record_hang(self, window: Mapping[int, Abstract], ids: Sequence[int]) -> None:
        """Record what the engine may have hung on; from a thread, so on a connection of its own."""
        with connect(self._database.url) as connection, watched(connection):
            record_hang(connection, self._store, [window[i] for i in ids])

    def _take(self, window: Mapping[int, Abstract], results: Sequence[Summary | Rejection]) -> None:
        """Have results committed, and give each summary its share of the time since the last ones."""
        generated_at = self._phases.seconds()["generate"]
        share, self._generated_at = (generated_at - self._generated_at) / len(results), generated_at
        self._taken += len(results)
        self._latencies += [share for r in results if isinstance(r, Summary)]
        with self._phases("write"):
            self.queue.put([(r, window[r.abstract_id]) for r in results])

    def _commit(self, rows: Sequence[tuple[Summary | Rejection, Abstract]]) -> None:
        results = self._database.run(storable_results, [result for result, _ in rows])
        hashes = {abstract.abstract_id: abstract.source_hash for _, abstract in rows}
        self._database.run(self._store.write, results, hashes, self._lease)
        for r, (_, abstract) in zip(results, rows, strict=True):
            if isinstance(r, Rejection):
                self._rejected[r.reason] = self._rejected.get(r.reason, 0) + 1
                continue
            self._summarized += 1
            self._truncated += r.input_truncated
            self._capped += r.finish_reason == "length"
            self._lengths.add(r.input_tokens, r.output_tokens)
            if len(self._examples) < 3:
                self._examples.append((r.abstract_id, abstract.text, r.text))


def peak_process_bytes() -> int:
    """Return the largest resident size of this process so far, its workers not counted."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
