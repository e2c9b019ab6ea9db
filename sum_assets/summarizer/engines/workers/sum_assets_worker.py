"""A model on an engine of our own environment, for `serve.py`: it runs the same code as the step."""

import base64
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sum_assets.errors import UserError
from sum_assets.summarizer.device_errors import is_device_lost
from sum_assets.summarizer.engines.token_engine import load_generator, load_tokenizer
from sum_assets.summarizer.resolved import ModelSettings
from sum_assets.summarizer.types import Output

Generate = Callable[[list[list[int]]], Iterator[list[tuple[int, Output]]]]


def load(settings: dict[str, Any]) -> tuple[str, Generate, Callable[[], dict[str, Any]]]:
    """Return the device's name, a function that generates, and one that returns batch size and memory."""
    resolved: ModelSettings = pickle.loads(base64.b64decode(settings["resolved"]))
    if resolved.device.kind == "cuda":
        torch.cuda.set_device(resolved.device.index)  # or each worker takes some memory of the first as well
    try:
        generator = load_generator(resolved, load_tokenizer(resolved))
    except UserError as error:
        raise ValueError(str(error)) from error

    def state() -> dict[str, Any]:
        now = generator.state()
        return {name: getattr(now, name) for name in ("batch_size", "out_of_memory", "peak_device_bytes")}

    return resolved.device.name, generator.generate, state


def survives(error: Exception) -> bool:
    """Return whether the model can be used after an error."""
    return not is_device_lost(error)
