"""What goes into a summarizer, what comes out, and what each engine is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sum_assets.abstract import Abstract, Rejection, Summary
from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.roofline import Roofline

__all__ = [
    "EMPTY",
    "NOT_A_NUMBER",
    "Abstract",
    "Architecture",
    "Attention",
    "Batches",
    "Device",
    "DeviceKind",
    "EngineState",
    "Generator",
    "Output",
    "Precision",
    "Quantization",
    "Rejection",
    "Summarizer",
    "Summary",
    "WorkerState",
]

DeviceKind = Literal["cpu", "cuda", "mps"]
Architecture = Literal["causal", "sequence-to-sequence"]
Precision = Literal["float32", "bfloat16", "float16"]
#: Which inputs may share a batch: any, those with the same number of tokens, or none.
Batches = Literal["any lengths", "equal lengths", "single"]
Quantization = Literal["none", "int8", "nf4", "fp4", "torchao_int8"]
Attention = Literal["eager", "sdpa", "flash_attention_2"]


@dataclass(frozen=True, slots=True)
class Device:
    """A device and the facts that decisions need.

    `capability` is CUDA's compute capability; `uuid` is the same in all processes, which `index` is not.
    """

    kind: DeviceKind
    index: int | None
    name: str
    capability: tuple[int, int] | None
    computes_bfloat16: bool
    memory_bytes: int | None
    uuid: str | None = None

    @property
    def torch_name(self) -> str:
        """The name torch knows it by."""
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A snapshot of one of several workers. `quarantined` is the reason why it gets no more batches, or None."""

    name: str
    rows: int
    busy_seconds: float
    total_seconds: float
    restarts: int
    quarantined: str | None

    @property
    def busy(self) -> float:
        """The fraction of `total_seconds`, in which there was work, that the worker was busy, reloading included."""
        return self.busy_seconds / self.total_seconds if self.total_seconds else 0.0


@dataclass(frozen=True, slots=True)
class EngineState:
    """How an engine is doing. `workers` is empty, and their memory None, where the step itself is the worker.

    `roofline` is its limit, or says why there is none.
    """

    device_name: str
    batch_size: int
    out_of_memory: int
    peak_device_bytes: int | None
    peak_worker_bytes: int | None = None
    workers: tuple[WorkerState, ...] = ()
    roofline: Roofline | str = "it has no model"


class Summarizer(Protocol):
    """What every engine is: it takes a large window and yields results in the order they finish."""

    def prepare(self, abstracts: Sequence[Abstract]) -> None:
        """Do beforehand what needs no device, for abstracts that `summarize` will get. May be called from a thread."""
        ...

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        """Yield what finished together as one list; every abstract comes back exactly once."""
        ...

    def state(self) -> EngineState:
        """Return the batch size in use, after any out-of-memory, and the device's peak memory."""
        ...


#: The reason of a rejection where the model computes NaN or infinite logits.
NOT_A_NUMBER = "not_a_number"
#: The reason of a rejection where the model writes no text.
EMPTY = "empty_summary"
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
