"""A model on an engine of the main environment, for `serve.py`. A step without workers runs the same code."""

import base64
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from sum_assets.errors import UserError
from sum_assets.summarizer.device_errors import is_device_lost
from sum_assets.summarizer.engines.token_engine import load_generator
from sum_assets.summarizer.model_files import load_tokenizer
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import Output

Generate = Callable[[list[list[int]]], Iterator[list[tuple[int, Output]]]]


def load(settings: dict[str, Any]) -> tuple[str, Generate, Callable[[], dict[str, Any]]]:
    """Return the device's name, a function that generates, and one that returns batch size and memory.

    Raises ValueError if the model cannot be loaded.
    """
    resolved: ModelSettings = pickle.loads(base64.b64decode(settings["resolved"]))
    try:
        generator = load_generator(resolved, load_tokenizer(resolved.files))
    except UserError as error:
        raise ValueError(str(error)) from error

    def state() -> dict[str, Any]:
        engine_state = generator.state()
        return {name: getattr(engine_state, name) for name in ("batch_size", "out_of_memory", "peak_device_bytes")}

    return resolved.device.name, generator.generate, state


def survives(error: Exception) -> bool:
    """Return whether the model can still be used after an error."""
    return not is_device_lost(error)
