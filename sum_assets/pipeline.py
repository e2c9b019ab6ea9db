"""Summarizes one ID range: reads what is missing, generates, and commits each finished batch."""

import re
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sum_assets.database.connection import connect
from sum_assets.database.engine_hangs import forget_hangs, note_hang, suspects, windows
from sum_assets.database.range_lease import Lease, range_lease
from sum_assets.database.reconnect import Database
from sum_assets.database.results import (
    RejectionRow,
    SourceRow,
    SummaryRow,
    Writer,
    count_source,
    read_abstracts,
)
from sum_assets.errors import StoppedError, UserError
from sum_assets.id_range import IdRange
from sum_assets.summarizer import Abstract, EngineState, Phases, Rejection, Summarizer, Summary
from sum_assets.summarizer.isolate import health_check, summarize_each

#: Abstracts handed to the engine at once: enough to sort by length, few enough to hold in memory.
WINDOW = 4096
_VISIBLE = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a range is."""

    done: int
    total: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Abstracts per second since the range began."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds to the end at this rate."""
        return (self.total - self.done) / self.per_second if self.done else float("inf")


@dataclass(frozen=True, slots=True)
class RangeReport:
    """What one run did for one range. Counts are of abstracts, times in seconds, sizes in bytes."""

    id_range: IdRange
    fingerprint: str
    settings: dict[str, Any]
    pending: int
    summarized: int
    rejected: dict[str, int]
    truncated: int
    capped: int
    input_tokens: int
    output_tokens: int
    seconds: float
    phases: dict[str, float]
    latencies: list[float]
    engine: EngineState | None
    peak_process_bytes: int
    examples: list[tuple[int, str, str]]

    @property
    def per_second(self) -> float | None:
        """Abstracts per second with the model loaded; None where this run generated nothing."""
        working = self.seconds - self.phases["load_model"]
        return self.summarized / working if self.summarized and working > 0 else None

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens per second of the generate phase; None where nothing was generated."""
        spent = self.phases["generate"]
        return self.output_tokens / spent if self.output_tokens and spent > 0 else None

    def latency(self, percent: int) -> float | None:
        """Return a percentile of seconds per abstract, each with its share of its batch's time."""
        if not self.latencies:
            return None
        if len(self.latencies) == 1:
            return self.latencies[0]
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]

    def days(self, abstracts: int) -> float | None:
        """Return the days that so many abstracts take at this rate, the model loaded once."""
        if self.per_second is None:
            return None
        return (self.phases["load_model"] + abstracts / self.per_second) / 86400


def screen(row: SourceRow) -> Rejection | None:
    """Return the reason for which a row holds nothing to summarize, None where it does."""
    if row.abstract is None:
        return Rejection(row.abstract_id, "null", "the abstract is NULL")
    if row.abstract == "":
        return Rejection(row.abstract_id, "empty", "the abstract has no characters")
    if not _VISIBLE.search(row.abstract):
        return Rejection(row.abstract_id, "blank", f"the abstract is {len(row.abstract)} blank characters")
    return None


def summarize_range(
    database: Database,
    id_range: IdRange,
    open_engine: Callable[[], Summarizer],
    writer: Writer,
    settings: dict[str, Any],
    *,
    limit: int | None = None,
    phases: Phases | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], str | None] = lambda: None,
) -> RangeReport:
    """Summarize what a range lacks under the writer's fingerprint, or its first `limit` by hash of the ID.

    Every abstract ends as a summary or as a rejected row. Each list that the engine yields is committed
    before the next is asked for, so that a kill costs the batch in flight. `open_engine` is called only
    when there is something to generate. Raises UserError where the range is empty or another run's, and
    StoppedError where, between two batches, `stop` gives a reason.
    """
    phases = phases or Phases()
    with range_lease(database, id_range, writer.run_id) as lease:
        run = _Run(database, lease, writer, phases)
        with phases("read"):
            ids = database(lambda connection: writer.pending(connection, id_range, limit))
            if not ids and not database(lambda connection: count_source(connection, id_range)):
                raise UserError(f"The range {id_range.key} has no abstracts in the source.")
            suspected = database(lambda connection: suspects(connection, writer, ids))
        engine = None
        for window in windows(ids, suspected, WINDOW):
            with phases("read"):
                rows = run.read(window)
            rejections = [r for r in map(screen, rows.values()) if r]
            if rejections:
                run.commit(rows, rejections)
            unusable = {r.abstract_id for r in rejections}
            usable = [Abstract(i, row.abstract or "") for i, row in rows.items() if i not in unusable]
            if not usable:
                continue
            run.stop_if(stop(), len(ids))
            if engine is None:
                with phases("load_model"):
                    engine = open_engine()
            suspect = suspected.get(usable[0].abstract_id)
            if suspect:
                health_check(engine)
            if suspect and suspect.to_blame and suspect.source_hash == rows[suspect.abstract_id].source_hash:
                detail = f"the engine hung on it {suspect.hangs} times, the last time alone"
                run.commit(rows, [Rejection(suspect.abstract_id, "engine_error", detail)])
                continue
            for results in summarize_each(engine, usable, phases, partial(run.note_hang, rows)):
                run.commit(rows, results)
                on_progress(Progress(run.done, len(ids), phases.total()))
                run.stop_if(stop(), len(ids))
        if suspected:
            database(lambda connection: forget_hangs(connection, writer, id_range))
    state = engine.state() if engine else None
    return RangeReport(
        id_range=id_range,
        fingerprint=writer.fingerprint,
        settings=settings,
        pending=len(ids),
        summarized=run.summarized,
        rejected=run.rejected,
        truncated=run.truncated,
        capped=run.capped,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        seconds=phases.total(),
        phases=phases.seconds(),
        latencies=run.latencies,
        engine=state,
        peak_process_bytes=peak_process_bytes() + ((state and state.peak_worker_bytes) or 0),
        examples=run.examples,
    )


class _Run:
    """Commits results and counts them."""

    def __init__(self, database: Database, lease: Lease, writer: Writer, phases: Phases) -> None:
        self._database, self._lease, self._writer, self._phases = database, lease, writer, phases
        self._generated_at = 0.0
        self.summarized = self.truncated = self.capped = self.input_tokens = self.output_tokens = 0
        self.rejected: dict[str, int] = {}
        self.latencies: list[float] = []
        self.examples: list[tuple[int, str, str]] = []

    @property
    def done(self) -> int:
        return self.summarized + sum(self.rejected.values())

    def stop_if(self, reason: str | None, total: int) -> None:
        if reason and self.done < total:
            raise StoppedError(
                f"Stopped {reason}, with {total - self.done} of {total} abstracts of {self._lease.id_range.key} left. "
                "Run it again: it goes on there."
            )

    def read(self, ids: Sequence[int]) -> dict[int, SourceRow]:
        return {row.abstract_id: row for row in self._database(lambda connection: read_abstracts(connection, ids))}

    def note_hang(self, rows: Mapping[int, SourceRow], ids: Sequence[int]) -> None:
        """Note what the engine may have hung on; from a thread, so on a connection of its own."""
        with connect(self._database.url) as connection:
            note_hang(connection, self._writer, [rows[i] for i in ids])

    def commit(self, rows: dict[int, SourceRow], results: Sequence[Summary | Rejection]) -> None:
        summaries = [r for r in results if isinstance(r, Summary)]
        rejections = [r for r in results if isinstance(r, Rejection)]
        written = [
            SummaryRow(
                s.abstract_id,
                rows[s.abstract_id].source_hash,
                s.text,
                s.input_tokens,
                s.output_tokens,
                s.input_truncated,
                s.finish_reason,
            )
            for s in summaries
        ]
        rejected = [
            RejectionRow(r.abstract_id, rows[r.abstract_id].source_hash, r.reason, r.detail) for r in rejections
        ]
        with self._phases("write"):
            self._database(lambda connection: self._writer.write(connection, written, rejected, self._lease))
        self.summarized += len(summaries)
        self.truncated += sum(s.input_truncated for s in summaries)
        self.capped += sum(s.finish_reason == "length" for s in summaries)
        self.input_tokens += sum(s.input_tokens for s in summaries)
        self.output_tokens += sum(s.output_tokens for s in summaries)
        for r in rejections:
            self.rejected[r.reason] = self.rejected.get(r.reason, 0) + 1
        generated_at = self._phases.seconds()["generate"]
        if summaries:
            self.latencies += [(generated_at - self._generated_at) / len(results)] * len(summaries)
        self._generated_at = generated_at
        for s in summaries[: 3 - len(self.examples)]:
            self.examples.append((s.abstract_id, rows[s.abstract_id].abstract or "", s.text))


def peak_process_bytes() -> int:
    """Return the largest resident size of this process so far, its workers not counted."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
