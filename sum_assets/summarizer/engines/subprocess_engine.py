"""Engines in a worker process: requests and answers are lines of JSON."""

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sum_assets.errors import UserError, WorkerError
from sum_assets.summarizer import engine_environments as environments
from sum_assets.summarizer.conversions import build_once
from sum_assets.summarizer.device_lease import slots
from sum_assets.summarizer.engine_environments import program
from sum_assets.summarizer.engines.load_model import check_weights
from sum_assets.summarizer.generation_rules import padding_token, stop_tokens
from sum_assets.summarizer.model_files import weights_folder
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import EngineState, Output

#: Seconds without an answer after which a worker counts as hung: far more than a batch takes.
ANSWER_LIMIT = 900.0
_ROOT = Path(__file__).parents[3]


class WorkerGenerator:
    """Hands prompts to a worker process and yields its outputs as they finish.

    See `sum_assets.summarizer.types.Generator`. Engines of our own environment run there as they do in the step.
    `cores` are the CPU cores that the process may use. Raises UserError where it cannot load the model, WorkerError
    where it dies, hangs or fails; the next call starts another process.
    """

    def __init__(self, resolved: ModelSettings, tokenizer: Any, cores: Sequence[int] = ()) -> None:
        self._resolved = resolved
        variables = dict(os.environ)
        if resolved.spec.environment:
            python, worker = environments.python_of(resolved.engine, resolved.device.kind), resolved.engine
            self._settings = _plain_settings(resolved, tokenizer)
        else:
            python, worker = Path(sys.executable), "sum_assets"
            self._settings = _pickled_settings(resolved)
            # The worker must import the same code as this process.
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._command = [str(python), str(program("serve")), worker]
        self._variables = variables
        self._settings |= {"parent": os.getpid(), "cores": list(cores)}
        self._last_state: dict[str, Any] = {}
        self.starts = 0
        self._start()

    def _start(self) -> None:
        engine = self._resolved.engine
        self._busy = False
        self.starts += 1
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._variables
        )
        weakref.finalize(self, _end, self._process)
        self._send(self._settings)
        ready = self._answer()
        if "error" in ready:
            raise UserError(f"engine {engine}: {ready['error']}")
        self._device_name = ready["ready"]["device_name"]

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        _end(self._process)

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield what the worker finishes. A worker that is dead or still busy is replaced."""
        if self._busy or self._process.poll() is not None:
            _end(self._process)
            self._start()
        self._busy = True
        self._send({"prompts": list(prompts)})
        while True:
            answer = self._answer()
            if "failed" in answer:  # the worker can go on
                self._busy = False
            if error := answer.get("failed") or answer.get("error"):
                raise WorkerError(f"engine {self._resolved.engine}: {error}")
            if "end" in answer:
                self._last_state = answer["end"]
                self._busy = False
                return
            yield [(index, _output(output)) for index, output in answer["done"]]

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
            raise WorkerError(f"the worker of engine {self._resolved.engine} gave no answer for {ANSWER_LIMIT:.0f} s")
        raise self._died()

    def _died(self) -> WorkerError:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return WorkerError(f"the worker of engine {self._resolved.engine} ended with {how}; its last words are above")

    def state(self) -> EngineState:
        """Return the state that the worker last reported."""
        return EngineState(
            self._device_name,
            self._last_state.get("batch_size", self._resolved.batch_size),
            self._last_state.get("out_of_memory", 0),
            self._last_state.get("peak_device_bytes"),
            self._last_state.get("peak_process_bytes"),
        )


def _pickled_settings(resolved: ModelSettings) -> dict[str, Any]:
    """Return the settings for `sum_assets_worker`, which runs the same code."""
    return {"resolved": base64.b64encode(pickle.dumps(resolved)).decode()}


def _plain_settings(resolved: ModelSettings, tokenizer: Any) -> dict[str, Any]:
    """Return the settings for the programs of other environments, as plain JSON."""
    assert resolved.spec.environment
    if resolved.spec.environment.exports_model:
        folder = exported(resolved)
    else:
        check_weights(resolved)
        folder = weights_folder(resolved.files)
    stops = stop_tokens(resolved.files, tokenizer)
    return {
        "model": str(folder),
        "precision": resolved.precision,
        "quantization": resolved.quantization,
        "encoder_decoder": resolved.encoder_decoder,
        "max_input_tokens": resolved.settings.max_input_tokens,
        "max_output_tokens": resolved.settings.max_output_tokens,
        "batch_size": resolved.batch_size,
        "stops": stops,
        "pad": padding_token(resolved.files, tokenizer),
        "rules": resolved.rules,
        "batches": resolved.batches,
        "threads": resolved.threads_per_worker or torch.get_num_threads() if resolved.device.kind == "cpu" else None,
        "device": resolved.device.torch_name,
        "sharing": resolved.workers_per_device * slots(),
        "options": dict(resolved.engine_options),
    }


def _output(output: list[Any]) -> Output:
    """Return an output as it was before JSON made a list of (reason, detail)."""
    return (output[0], output[1]) if output and isinstance(output[0], str) else output


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill the worker: it holds nothing that could be lost."""
    process.kill()
    process.wait()


def exported(resolved: ModelSettings) -> Path:
    """Return the model as OpenVINO's folder, exported on first use in OpenVINO's environment."""
    engine, weights = resolved.engine, "int8_sym" if resolved.quantization == "int8" else "fp32"
    versions = "-".join(environments.versions_of(engine).values())

    def build(folder: Path) -> None:
        check_weights(resolved)
        source = weights_folder(resolved.files)
        python = environments.python_of(engine, resolved.device.kind)
        command = [str(part) for part in (python, program(f"{engine}_worker"), source, folder, weights)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            lines = ran.stderr.strip().splitlines()
            raise UserError(
                f"model: {resolved.settings.model} cannot be converted for engine {engine}: "
                f"{lines[-1] if lines else f'exit code {ran.returncode}'} Set engine: transformers."
            )

    digest = resolved.files.revision.removeprefix("sha256:")[:12]
    return build_once(f"{Path(resolved.settings.model).stem}-{digest}-{engine}-{weights}-{versions}", build)
