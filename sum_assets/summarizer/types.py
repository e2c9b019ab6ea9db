"""What goes into a summarizer, what comes out, and what each engine is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sum_assets.abstract import Abstract, Rejection, Summary
from sum_assets.summarizer.phases import Phases

__all__ = ["Abstract", "EngineState", "Generator", "Output", "Rejection", "Summarizer", "Summary", "WorkerState"]


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


#: What became of a prompt: the ids that the model wrote, stop token included, or (reason, detail).
Output = list[int] | tuple[str, str]


class Generator(Protocol):
    """A loaded model: token ids in, token ids out."""

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield (index of the prompt, output) as they finish, those together that finish together."""
        ...

    def state(self) -> EngineState:
        """Return how it is doing."""
        ...
