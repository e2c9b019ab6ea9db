"""Loads a model with transformers, and nothing that its checkpoint does not hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig, TorchAoConfig
from transformers.utils import logging as transformers_logging

from sum_assets.errors import UserError, first_line
from sum_assets.summarizer.checked_weights import require_all_weights
from sum_assets.summarizer.device_errors import is_device_lost, is_out_of_memory
from sum_assets.summarizer.engines.not_a_number import require_finite_weights
from sum_assets.summarizer.model_files import ModelFiles, weights_folder
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.torchao_config import torchao_int8
from sum_assets.summarizer.types import Quantization


def load_model(resolved: ModelSettings) -> Any:
    """Return the model on its device. Raises UserError where its files cannot be loaded, or are not all of it.

    A CUDA device becomes the current one of this thread.
    """
    if resolved.device.kind == "cuda":
        # Streams, events and graphs are those of the current device. On another one than the model's, a graph
        # captures nothing (https://github.com/pytorch/pytorch/issues/87894), and an event waits for nothing.
        torch.cuda.set_device(resolved.device.index)
    options: dict[str, Any] = {
        "dtype": getattr(torch, resolved.precision),
        "attn_implementation": resolved.attention,
    }
    if resolved.quantized:
        options["device_map"] = {"": resolved.device.torch_name}
    if resolved.quantization != "none":
        options["quantization_config"] = _quantization(resolved.quantization, options["dtype"])
    model = _from_pretrained(resolved.settings.model, resolved.files, options)
    return (model if resolved.quantized else model.to(resolved.device.torch_name)).eval()


def check_weights(resolved: ModelSettings) -> None:
    """Raise UserError where the files of a model that another library loads are not all of it, or not finite."""
    require_finite_weights(resolved)
    check_shapes(resolved.settings.model, resolved.files)


def check_shapes(name: str, files: ModelFiles) -> None:
    """Raise UserError where a model's files are not all of it; `name` is what the user calls it.

    transformers loads it without memory, so that names and shapes alone are read. A checkpoint that is quantized
    already is left to the library that reads its format.
    """
    if getattr(files.config, "quantization_config", None) is None:
        _from_pretrained(name, files, {"device_map": {"": "meta"}, "dtype": torch.bfloat16})


def _from_pretrained(name: str, files: ModelFiles, options: dict[str, Any]) -> Any:
    transformers_logging.disable_progress_bar()
    auto_class: Any = AutoModelForSeq2SeqLM if files.config.is_encoder_decoder else AutoModelForCausalLM
    try:
        with _quiet():
            model, info = auto_class.from_pretrained(
                str(weights_folder(files)),
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in what is returned
                **options,
            )
    except Exception as error:  # what the readers of a damaged file raise is not documented
        if is_out_of_memory(error) or is_device_lost(error):
            raise
        raise UserError(f"model: {name} cannot be loaded: {first_line(error)}") from error
    require_all_weights(name, model, info)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing a table of what is missing: an error says it."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _quantization(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig | TorchAoConfig:
    """Return how transformers is to quantize a model as it loads."""
    if quantization == "torchao_int8":
        return torchao_int8()
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=quantization, bnb_4bit_compute_dtype=dtype)
