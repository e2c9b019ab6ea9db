"""Real faults of a device, in processes of their own: no memory is left, or the device is lost. And two workers."""

import resource
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
import torch

from sum_assets.errors import DeviceLostError
from sum_assets.summarizer import (
    Abstract,
    EngineState,
    Phases,
    Rejection,
    Summarizer,
    SummarizerSettings,
    Summary,
    open_summarizer,
)
from sum_assets.summarizer.isolate_failures import summarize_each
from sum_assets_tests.evidence.prove_gpu import countdown
from sum_assets_tests.evidence.prove_gpu.case import Machine, Result, check
from sum_assets_tests.evidence.prove_gpu.writing import first_difference, resolved, share, texts_of

#: A batch whose KV cache takes 2.1 GB, or 0.8 GB in a rehearsal. Half of that is left for it.
_ROWS, _REHEARSED_ROWS, _MOST_TOKENS, _ROW_BYTES = 512, 192, 2048, 2**22
_kept: list[torch.Tensor] = []


def _open(machine: Machine, shape: str, most_tokens: int = 16, **gpu: Any) -> Summarizer:
    folder = machine.models / shape
    if not folder.exists():
        countdown.save_countdown(shape, folder, "cpu")
    settings = SummarizerSettings(
        model=str(folder), prompt=countdown.PROMPT, max_input_tokens=64, max_output_tokens=most_tokens
    )
    return open_summarizer(resolved(settings, device=machine.device, **gpu))


def _texts(shape: str, rows: int) -> tuple[list[str], list[str]]:
    """Return texts, and what must be written on them."""
    lengths = [2 + row % 3 for row in range(rows)]
    right = [countdown.countdown(length) for length in lengths]
    return countdown.texts(shape, [16 + row % 9 for row in range(rows)], lengths), right


def _compare(written: list[str], right: list[str]) -> list[str]:
    if written == right:
        return []
    return [
        f"{share(written, right):.0%} of {len(right)} texts are right, the first {first_difference(written, right)}"
    ]


def out_of_memory(machine: Machine, graphs: bool) -> Result:
    """Leave a batch half of the memory that it needs: it must be halved, and every text written."""
    rows = _REHEARSED_ROWS if machine.rehearsal else _ROWS
    room = rows * _ROW_BYTES // 2
    gpu: dict[str, Any] = {"cuda_graphs": True} if graphs else {}
    engine = _open(machine, "tiny T5", _MOST_TOKENS, batch_size=rows, **gpu)
    texts, right = _texts("tiny T5", rows)
    wrong = _compare(texts_of(engine, texts[:8]), right[:8])
    if machine.rehearsal:
        limit = psutil.Process().memory_info().vms + room
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    else:
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        _kept.append(torch.empty(free - room, dtype=torch.uint8, device=machine.device))
    wrong += _compare(texts_of(engine, texts), right)
    state = engine.state()
    if not state.out_of_memory or state.batch_size >= rows:
        wrong.append(f"memory never ran out: batch size {state.batch_size}")
    return check(wrong, f"memory ran out {state.out_of_memory} times; batch size {rows} became {state.batch_size}")


class _LosingDevice:
    """An engine that loses the device as it begins to write."""

    def __init__(self, engine: Summarizer, machine: Machine, how: str) -> None:
        self._engine, self._machine, self._how = engine, machine, how

    def prepare(self, abstracts: Any) -> None:
        self._engine.prepare(abstracts)

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        _lose(self._machine, self._how)
        yield from self._engine.summarize(abstracts, phases)

    def state(self) -> EngineState:
        return self._engine.state()


def _lose(machine: Machine, how: str) -> None:
    """Have a kernel touch what it must not. The error comes with a later call, as it does in real life."""
    if machine.rehearsal:
        raise RuntimeError(f"CUDA error: {how} (raised by the rehearsal)")
    if how == "an illegal memory access was encountered":
        tensor = torch.ones(2**28, dtype=torch.uint8, device=machine.device)
        _kept.append(tensor)  # its memory must not be freed twice
        torch.cuda.caching_allocator_delete(tensor.data_ptr())  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()  # gives it back to the driver
        tensor.add_(1)
    else:
        torch.zeros(4, device=machine.device)[torch.tensor([10**6], device=machine.device)]


def lost_device(machine: Machine, how: str) -> Result:
    """Lose the device: the run must end with the error that says so, and reject nothing."""
    engine = _open(machine, "tiny Llama", batch_size=8)
    texts, right = _texts("tiny Llama", 8)
    wrong = _compare(texts_of(engine, texts), right)
    abstracts = [Abstract(i, text) for i, text in enumerate(texts)]
    try:
        results = list(summarize_each(_LosingDevice(engine, machine, how), abstracts, Phases()))
        wrong.append(f"no error was raised, and {sum(map(len, results))} results came back")
    except DeviceLostError as error:
        return check(wrong, str(error))
    except Exception as error:
        wrong.append(f"not a lost device, but {type(error).__name__}: {error}")
    return check(wrong, "")


def write(machine: Machine) -> Result:
    """Write in a fresh process, after another one has lost the device."""
    texts, right = _texts("tiny Llama", 8)
    return check(_compare(texts_of(_open(machine, "tiny Llama", batch_size=8), texts), right), "8 texts are right")


def two_workers(machine: Machine) -> Result:
    """Have two workers share the device."""
    engine = _open(machine, "tiny Llama", batch_size=4, workers_per_device=2)
    texts, right = _texts("tiny Llama", 64)
    wrong = _compare(texts_of(engine, texts), right)
    workers = engine.state().workers
    wrong += [f"{worker.name}: {worker.quarantined}" for worker in workers if worker.quarantined]
    if len(workers) != 2:
        wrong.append(f"there are {len(workers)} workers, not 2")
    return check(wrong, ", ".join(f"{worker.name} wrote {worker.rows} texts" for worker in workers))
