"""Opens the summarizer of a run, or goes on with the one that this process has kept from its last run."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from sum_assets.errors import UserError
from sum_assets.summarizer import GpuSettings, Phases, Summarizer, SummarizerSettings, open_summarizer, resolve_settings
from sum_assets.summarizer.device_lease import device_lease
from sum_assets.summarizer.resolved_settings import ResolvedSettings
from sum_assets.summarizer.types import Device

Log = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class RunSummarizer:
    """The resolved settings of a run, and what opens its summarizer at the first call.

    `phases` began when the run had its device. Resolving the settings counts as `load_model`.
    """

    resolved: ResolvedSettings
    open: Callable[[], Summarizer]
    phases: Phases


@contextmanager
def summarizer_of_run(gpu: GpuSettings, summarizer: SummarizerSettings, log: Log) -> Iterator[RunSummarizer]:
    """Lease a device for a run, and yield its summarizer. Raises what `resolve_settings` raises."""
    if kept := _kept.get():
        with kept.of_run(gpu, summarizer, log) as run:
            yield run
        return
    with device_lease(gpu, log) as leased:
        phases = Phases()
        with phases("load_model"):
            resolved = resolve_settings(leased, summarizer)
        yield RunSummarizer(resolved, cache(lambda: open_summarizer(resolved)), phases)


@contextmanager
def keep_summarizer() -> Iterator[None]:
    """Keep device and summarizer from run to run inside the block. One run must end before the next begins."""
    with _Kept() as kept:
        token = _kept.set(kept)
        try:
            yield
        finally:
            _kept.reset(token)


class _Kept:
    """A leased device and the summarizer that is open on it, with the settings and the fingerprint it was opened for.

    Each run resolves its settings anew, since files and libraries may have changed. It goes on with the summarizer
    where they are the same. A summarizer is kept only after a run that ended well, and only if that run left nothing
    in its state: no batch was halved, and there are no workers, which have counters and may be quarantined.
    """

    def __init__(self) -> None:
        self._lease = ExitStack()
        self._leased: tuple[GpuSettings, GpuSettings] | None = None
        self._opened: tuple[ResolvedSettings, str, Summarizer] | None = None

    def __enter__(self) -> "_Kept":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._lease.close()

    @contextmanager
    def of_run(self, gpu: GpuSettings, summarizer: SummarizerSettings, log: Log) -> Iterator[RunSummarizer]:
        """Do what `summarizer_of_run` does."""
        leased = self._lease_device(gpu, log)
        phases = Phases()
        with phases("load_model"):
            resolved = self._resolve(leased, summarizer)
        if self._opened:
            _reset_peaks(resolved.device)
            log("The summarizer is open already, from the last run of this process.")
        ended_well = False
        try:
            yield RunSummarizer(resolved, partial(self._open, resolved), phases)
            ended_well = True
        finally:
            if self._opened and not (ended_well and _left_as_opened(self._opened[2])):
                self._opened = None  # an error on its way out may still hold it: the next run frees the memory

    def _lease_device(self, gpu: GpuSettings, log: Log) -> GpuSettings:
        if self._leased and self._leased[0] != gpu:
            self._close()
            self._lease.close()
            self._leased = None
        if self._leased is None:
            self._leased = gpu, self._lease.enter_context(device_lease(gpu, log))
        return self._leased[1]

    def _resolve(self, leased: GpuSettings, summarizer: SummarizerSettings) -> ResolvedSettings:
        if self._opened:
            with suppress(UserError):  # perhaps for want of the memory that the open summarizer takes
                resolved = resolve_settings(leased, summarizer)
                if (resolved, resolved.fingerprint) == self._opened[:2]:
                    return resolved
        self._close()
        return resolve_settings(leased, summarizer)

    def _open(self, resolved: ResolvedSettings) -> Summarizer:
        if self._opened is None:
            self._opened = resolved, resolved.fingerprint, open_summarizer(resolved)
        return self._opened[2]

    def _close(self) -> None:
        """Free the memory of the last summarizer: a device may not hold two."""
        self._opened = None
        gc.collect()


_kept: ContextVar[_Kept | None] = ContextVar("kept summarizer", default=None)


def _left_as_opened(summarizer: Summarizer) -> bool:
    state = summarizer.state()
    return not state.out_of_memory and not state.workers


def _reset_peaks(device: Device) -> None:
    """Have the peak memory of this process, and its peak on the device, be those of what follows.

    The peak of an engine's own process stays that since its start.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux alone has it
    torch = sys.modules.get("torch")  # importing it takes seconds, and `lead` needs none
    if torch and device.kind == "cuda" and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats(device.index)
