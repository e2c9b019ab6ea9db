"""One causal model on vLLM, for `serve.py`."""

import fcntl
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

Finished = list[tuple[int, list[int]]]
Generate = Callable[[list[list[int]]], Iterator[Finished]]

#: The share of a GPU's memory that vLLM takes by default, about. The rest is for CUDA and for the step's own process.
_MEMORY_SHARE = 0.9
#: Tokens in a block of the KV cache. vLLM's default of 128 on a CPU is longer than the prefix that prompts share.
_BLOCK = 32


def _prepare(settings: dict[str, Any]) -> None:
    """Set the environment variables that vLLM reads when it is imported.

    Raises ValueError if an optional package is installed but does not load.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = (
        "0"  # one process: no child outlives it, and its memory can be measured
    )
    kind, _, index = settings["device"].partition(":")
    if kind == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(index or 0)] if visible else index or "0"
    else:
        # vLLM fails to load the compiled model that it stores, and compiles again for a minute each time.
        os.environ.setdefault("VLLM_USE_AOT_COMPILE", "0")
        os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
        if settings["cores"]:  # this process is bound to its cores already
            os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        _check_unused()


def _check_unused() -> None:
    for unused in ("torchvision", "torchaudio", "torchcodec"):
        try:
            import_module(unused)
        except ModuleNotFoundError:
            pass
        except Exception as error:
            raise ValueError(
                f"{unused} does not load, and sum_assets does not need it. Uninstall it with pip."
            ) from error


def _compiles() -> bool:
    """Return whether torch can compile for this CPU, which takes a C++ compiler and Python's headers."""
    compiler, header = os.environ.get("CXX", "g++"), Path(sysconfig.get_path("include"), "Python.h")
    available = {compiler: shutil.which(compiler), str(header): header.is_file()}
    missing = [name for name, present in available.items() if not present]
    if missing:
        print(f"vLLM is slower without compiling the model, which takes {' and '.join(missing)}.", file=sys.stderr)
    return not missing


def engine_arguments(settings: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return vLLM's EngineArgs for settings on a kind of device. What they leave out is vLLM's to choose."""
    longest, batch = settings["max_input_tokens"] + settings["max_output_tokens"], settings["batch_size"]
    arguments: dict[str, Any] = {
        "model": settings["model"],
        "skip_tokenizer_init": True,
        "dtype": settings["precision"],
        "max_model_len": longest,
        "max_num_seqs": batch,
        "enable_prefix_caching": True,  # all prompts share the instruction: one prefill serves all
        "disable_log_stats": True,
    }
    if kind == "cpu":
        arguments |= {
            "block_size": _BLOCK,
            # Otherwise vLLM takes nearly all memory for the KV cache, and fails if other programs use some.
            "kv_cache_memory_bytes": 1,
            "num_gpu_blocks_override": 1 + batch * -(-longest // _BLOCK),
            "enforce_eager": not _compiles(),
        }
    elif settings["sharing"] > 1:
        arguments["gpu_memory_utilization"] = round(_MEMORY_SHARE / settings["sharing"], 3)
    options = dict(settings["options"])
    speculation = {k: options.pop(k) for k in ("num_speculative_tokens", "prompt_lookup_max") if k in options}
    if speculation:
        arguments["speculative_config"] = {"method": "ngram", **speculation}
    return arguments | options


@contextmanager
def _one_at_a_time(device: str) -> Iterator[None]:
    """Wait while another process of the user's loads a model on the same GPU.

    vLLM measures what memory is free, and would count what the other one takes meanwhile.
    """
    path = Path(tempfile.gettempdir(), f"sum_assets-vllm-{os.getuid()}-{device.replace('/', '-')}.lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def load(settings: dict[str, Any]) -> tuple[str, Generate, Callable[[], dict[str, Any]]]:
    """Return the device's name, a function that generates, and one that returns the device's peak memory.

    Raises ValueError if the settings do not suit the installed vLLM.
    """
    if not Path(settings["model"], "config.json").is_file():
        raise ValueError(f"there is no model in {settings['model']}; name a folder with config.json and weights.")
    _prepare(settings)
    import torch
    from vllm import EngineArgs, LLMEngine, SamplingParams
    from vllm.inputs import tokens_input
    from vllm.platforms import current_platform
    from vllm.sampling_params import RequestOutputKind
    from vllm.usage.usage_lib import UsageContext

    kind = settings["device"].partition(":")[0]
    if settings["encoder_decoder"]:
        raise ValueError("vLLM serves causal models only; use another engine for a sequence-to-sequence model.")
    if current_platform.device_type != kind:
        raise ValueError(f"this vLLM serves {current_platform.device_type!r}, not {kind!r}; install vLLM for {kind}.")
    with _one_at_a_time(os.environ["CUDA_VISIBLE_DEVICES"]) if kind == "cuda" else nullcontext():
        engine = LLMEngine.from_engine_args(EngineArgs(**engine_arguments(settings, kind)), UsageContext.LLM_CLASS)
    params = SamplingParams(
        temperature=0,
        repetition_penalty=settings["rules"].get("repetition_penalty", 1.0),
        max_tokens=settings["max_output_tokens"],
        stop_token_ids=settings["stops"],
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )

    def generate(prompts: list[list[int]]) -> Iterator[Finished]:
        for index, ids in enumerate(prompts):
            engine.add_request(str(index), tokens_input(ids), params)
        while engine.has_unfinished_requests():
            done = [(int(each.request_id), list(each.outputs[0].token_ids)) for each in engine.step() if each.finished]
            if done:
                yield done

    def state() -> dict[str, Any]:
        return {"peak_device_bytes": int(torch.cuda.max_memory_allocated())} if kind == "cuda" else {}

    return current_platform.get_device_name(), generate, state
