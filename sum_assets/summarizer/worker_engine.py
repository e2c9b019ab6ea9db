"""Engines that run in an environment of their own, spoken to by JSON lines."""

import json
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sum_assets.errors import UserError
from sum_assets.summarizer import EngineState
from sum_assets.summarizer.environments import program, python_of, versions_of
from sum_assets.summarizer.models import build_once, local_folder, stop_tokens
from sum_assets.summarizer.resolve import ResolvedModel
from sum_assets.summarizer.token_engine import Output

#: Seconds after which a worker that gives no answer is held to hang: far beyond what a batch takes.
ANSWER_LIMIT = 900.0


class WorkerGenerator:
    """Hands prompts to a worker process and yields its outputs as they finish; see `token_engine.Generator`.

    The worker keeps `batch_size` inputs going, and takes up the next when one ends. Raises UserError where it
    cannot load the model, RuntimeError where it dies or hangs; the next call starts another.
    """

    def __init__(self, resolved: ResolvedModel, tokenizer: Any) -> None:
        self._resolved = resolved
        folder = exported(resolved) if resolved.engine == "openvino" else local_folder(resolved.files)
        stops = stop_tokens(resolved.files, tokenizer)
        self._settings = {
            "model": str(folder),
            "precision": resolved.precision,
            "quantization": resolved.quantization,
            "encoder_decoder": resolved.encoder_decoder,
            "max_input_tokens": resolved.settings.max_input_tokens,
            "max_output_tokens": resolved.settings.max_output_tokens,
            "batch_size": resolved.batch_size,
            "stops": stops,
            "pad": stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            "threads": torch.get_num_threads() if resolved.device.kind == "cpu" else None,
            "device": resolved.device.torch_name,
        }
        self._peak: int | None = None
        self._start()

    def _start(self) -> None:
        engine = self._resolved.engine
        self._busy = False
        self._process = subprocess.Popen(
            [python_of(engine), program("serve"), engine], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        weakref.finalize(self, _end, self._process)
        self._send(self._settings)
        ready = self._answer()
        if "error" in ready:
            raise UserError(f"engine {engine}: {ready['error']}")
        self._device_name = ready["ready"]["device_name"]

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield what the worker finishes. One that is dead, or still at something else, is replaced."""
        if self._busy or self._process.poll() is not None:
            _end(self._process)
            self._start()
        self._busy = True
        self._send({"prompts": list(prompts)})
        while True:
            answer = self._answer()
            if "error" in answer:
                raise RuntimeError(f"engine {self._resolved.engine}: {answer['error']}")
            if "end" in answer:
                self._peak = answer["end"]["peak_device_bytes"]
                self._busy = False
                return
            yield [(index, ids) for index, ids in answer["done"]]

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _answer(self) -> Any:
        assert self._process.stdout
        watch = threading.Timer(ANSWER_LIMIT, self._process.kill)
        watch.daemon = True
        asked = time.monotonic()
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if line:
            return json.loads(line)
        if time.monotonic() - asked >= ANSWER_LIMIT:
            raise RuntimeError(f"the worker of engine {self._resolved.engine} gave no answer for {ANSWER_LIMIT:.0f} s")
        raise self._died()

    def _died(self) -> RuntimeError:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return RuntimeError(f"the worker of engine {self._resolved.engine} ended with {how}; its last words are above")

    def state(self) -> EngineState:
        """Return the device's name and peak memory, as the worker tells them."""
        return EngineState(self._device_name, self._resolved.batch_size, 0, self._peak)


def _end(process: "subprocess.Popen[str]") -> None:
    """End the worker: it holds nothing that could be lost."""
    process.kill()
    process.wait()


def exported(resolved: ResolvedModel) -> Path:
    """Return the model as OpenVINO's folder, exported on first use in OpenVINO's environment."""
    engine, weights = resolved.engine, "int8_sym" if resolved.quantization == "int8" else "fp32"
    versions = "-".join(versions_of(engine).values())

    def build(folder: Path) -> None:
        source = local_folder(resolved.files)
        command = [str(part) for part in (python_of(engine), program(f"{engine}_worker"), source, folder, weights)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            said = ran.stderr.strip().splitlines()
            raise UserError(
                f"model: {resolved.settings.model} cannot be converted for engine {engine}: "
                f"{said[-1] if said else f'exit code {ran.returncode}'} Set engine: transformers."
            )

    digest = resolved.files.revision.removeprefix("sha256:")[:12]
    return build_once(f"{Path(resolved.settings.model).stem}-{digest}-{engine}-{weights}-{versions}", build)
