"""A worker on a Ray cluster: the actor that runs there, and the client that drives it from here."""

import hashlib
import platform
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from sum_assets.errors import UserError, WorkerError
from sum_assets.summarizer import ray_devices
from sum_assets.summarizer.conversions import build_once
from sum_assets.summarizer.device_errors import describe_error, is_device_lost
from sum_assets.summarizer.engines.subprocess_engine import ANSWER_LIMIT
from sum_assets.summarizer.engines.token_engine import load_generator
from sum_assets.summarizer.model_files import load_tokenizer, weights_folder
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import EngineState, Generator, Output


@dataclass(frozen=True)
class ModelBundle:
    """A model's files in Ray's object store. Each host fetches them once."""

    name: str
    files: dict[str, Any]

    @staticmethod
    def pack(resolved: ModelSettings) -> "ModelBundle":
        """Put the files of a model into the store."""
        folder = weights_folder(resolved.files)
        files = {p.name: ray.put(np.fromfile(p, np.uint8)) for p in sorted(folder.iterdir()) if p.is_file()}
        key = hashlib.sha256(f"{folder.name} {resolved.files.revision}".encode()).hexdigest()[:16]
        return ModelBundle(f"ray-{folder.name}-{key}", files)

    def unpack(self) -> Path:
        """Return the folder of the files on this host. The first call writes it."""

        def build(folder: Path) -> None:
            for name, reference in self.files.items():
                ray.get(reference).tofile(folder / name)

        return build_once(self.name, build)


class Actor:
    """One loaded model, in a process on the cluster."""

    def __init__(self) -> None:
        self._generator: Generator | None = None

    def host(self) -> str:
        """Return the host's name. An answer means that Ray has placed the actor."""
        return platform.node()

    def load(self, resolved: ModelSettings, bundle: ModelBundle, versions: dict[str, str]) -> EngineState:
        """Load the model. Raises UserError if that fails, or if this host has other versions of the libraries."""
        installed = resolved.text_settings()["versions"]
        if installed != versions:
            raise UserError(
                f"{platform.node()} has {installed}, the run has {versions}. Install the same versions everywhere."
            )
        files = replace(resolved.files, folder=bundle.unpack())
        resolved = replace(resolved, files=files)
        self._generator = load_generator(resolved, load_tokenizer(resolved.files))
        return self._generator.state()

    def generate(self, prompts: list[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield outputs as they finish; see `sum_assets.summarizer.types.Generator`."""
        assert self._generator
        yield from self._generator.generate(prompts)

    def state(self) -> EngineState:
        """Return the state of the model."""
        assert self._generator
        return self._generator.state()


class RayWorker:
    """Drives an actor that Ray has placed; see `sum_assets.summarizer.parallel.worker_pool.Worker`.

    Raises UserError where the actor does not start in time, or the actor cannot load the model.
    """

    def __init__(self, resolved: ModelSettings, bundle: ModelBundle, options: dict[str, Any]) -> None:
        self._resolved, self._bundle, self._options = resolved, bundle, options
        self._state: EngineState
        self._versions = resolved.text_settings()["versions"]
        self.starts = 0
        self._start()

    def _start(self) -> None:
        self.starts += 1
        self._alive = True
        actor: Any = ray.remote(Actor)  # Any: Ray adds the methods that are called below
        self._actor = actor.options(**self._options).remote()
        host = self._actor.host.remote()
        try:
            placed, _ = ray.wait([host], timeout=ray_devices.PLACEMENT_TIMEOUT)
            if not placed:
                raise UserError(
                    f"no worker started on Ray within {ray_devices.PLACEMENT_TIMEOUT:.0f} s: the cluster has no room "
                    f"for {_describe_resources(self._options)}, or its hosts start processes slowly"
                )
            self.host = ray.get(host)
            loading = self._actor.load.remote(self._resolved, self._bundle, self._versions)
            self._state = ray.get(loading, timeout=ANSWER_LIMIT)
        except UserError:
            self.end()
            raise
        except RayError as error:
            self.end()
            raise _translate(error) from None

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield what the actor finishes. A dead actor, or one that is still busy, is replaced."""
        if not self._alive:
            self._start()
        self._alive = False
        references = iter(self._actor.generate.options(num_returns="streaming").remote(list(prompts)))
        try:
            while True:
                watchdog = threading.Timer(ANSWER_LIMIT, self.end)
                watchdog.daemon = True
                watchdog.start()
                try:
                    finished = ray.get(next(references))
                except StopIteration:
                    break
                finally:
                    watchdog.cancel()
                yield finished
            self._state = ray.get(self._actor.state.remote(), timeout=ray_devices.PLACEMENT_TIMEOUT)
            self._alive = True
        except RayError as error:
            translated = _translate(error)
            if isinstance(error, RayTaskError) and not is_device_lost(error.cause):
                self._alive = True
            else:
                self.end()
            raise translated from None

    def end(self) -> None:
        """End the actor, even in the middle of a batch. The next call starts another."""
        self._alive = False
        ray.kill(self._actor)

    def state(self) -> EngineState:
        """Return the state that the actor last reported, with its host."""
        return replace(self._state, device_name=f"{self._state.device_name} on {self.host}")


def _translate(error: RayError) -> Exception:
    """Return an actor's error as a UserError or WorkerError of one line."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        return cause if isinstance(cause, UserError) else WorkerError(describe_error(cause))
    if isinstance(error, GetTimeoutError):
        return WorkerError("a worker on the Ray cluster gives no answer")
    return WorkerError(f"a worker on the Ray cluster is gone: {describe_error(error)}")


def _describe_resources(options: dict[str, Any]) -> str:
    return ", ".join(f"{options[name]:g} {name.removeprefix('num_').upper()}" for name in ("num_gpus", "num_cpus"))
