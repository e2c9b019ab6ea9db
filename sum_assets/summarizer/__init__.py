"""Abstracts in, summaries out: no Dagster, no SQL.

`open_summarizer` is the one door; it imports torch and an engine only when it is passed through.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.settings import GpuSettings, SummarizerSettings

if TYPE_CHECKING:
    from sum_assets.summarizer.resolve import Resolved


@dataclass(frozen=True, slots=True)
class Abstract:
    """One text to summarize."""

    abstract_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One summary, with its lengths in tokens. `finish_reason` is `length` where it hit the output limit."""

    abstract_id: int
    text: str
    input_tokens: int
    output_tokens: int
    input_truncated: bool
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """An abstract that has no summary, and why."""

    abstract_id: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What one of several workers has done so far; `set_aside` says why it is no longer given anything."""

    name: str
    rows: int
    busy_seconds: float
    total_seconds: float
    restarts: int
    set_aside: str | None

    @property
    def busy(self) -> float:
        """The share of the time in which there was work that it was at work, loading again included."""
        return self.busy_seconds / self.total_seconds if self.total_seconds else 0.0


@dataclass(frozen=True, slots=True)
class EngineState:
    """How an engine is doing. `workers` is empty, and their memory None, where the step itself is the worker."""

    device_name: str
    batch_size: int
    out_of_memory: int
    peak_device_bytes: int | None
    peak_worker_bytes: int | None = None
    workers: tuple[WorkerState, ...] = ()


class Summarizer(Protocol):
    """What every engine is: it takes a large window and yields results in the order they finish."""

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        """Yield what finished together as one list; every abstract comes back exactly once."""
        ...

    def state(self) -> EngineState:
        """Return the batch size in use, after any out-of-memory, and the device's peak memory."""
        ...


def resolve_settings(gpu: GpuSettings, summarizer: SummarizerSettings) -> "Resolved":
    """Turn every `auto` into a choice and find the model's files; nothing is loaded.

    Raises UnsupportedError where device, model or libraries cannot serve a setting, UserError where the
    model is not to be had.
    """
    from sum_assets.summarizer.resolve import resolve

    return resolve(gpu, summarizer)


def open_summarizer(resolved: "Resolved", *, naive: bool = False) -> Summarizer:
    """Load the model and return the engine that serves it.

    `naive` pads every input to the input limit and leaves decoding to transformers: what a plain loop does.
    """
    from sum_assets.summarizer.lead_engine import LeadEngine
    from sum_assets.summarizer.resolve import ResolvedLead, ResolvedModel
    from sum_assets.summarizer.token_engine import TokenEngine, load_generator

    if isinstance(resolved, ResolvedLead):
        return LeadEngine(resolved)
    assert isinstance(resolved, ResolvedModel)
    if resolved.ray_address:
        from sum_assets.summarizer.ray_cluster import open_ray_pool

        return TokenEngine(resolved, lambda _: open_ray_pool(resolved))
    if len(resolved.places) > 1:
        from sum_assets.summarizer.pool import open_pool

        return TokenEngine(resolved, lambda tokenizer: open_pool(resolved, tokenizer))
    return TokenEngine(resolved, lambda tokenizer: load_generator(resolved, tokenizer, naive=naive))


__all__ = [
    "Abstract",
    "EngineState",
    "GpuSettings",
    "Phases",
    "Rejection",
    "Summarizer",
    "SummarizerSettings",
    "Summary",
    "WorkerState",
    "open_summarizer",
    "resolve_settings",
]
