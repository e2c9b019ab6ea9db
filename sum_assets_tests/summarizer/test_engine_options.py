"""Options of an engine's own library: what is refused, what the fingerprint holds, and what vLLM is given."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sum_assets.benchmark.sweep import parse_sweep
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import GpuSettings, SummarizerSettings, open_summarizer
from sum_assets.summarizer.engine_registry import ENGINES
from sum_assets.summarizer.engines.worker_programs.vllm_worker import engine_arguments
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.resolve import resolve
from sum_assets.summarizer.types import Device

H100 = Device("cuda", 0, "H100", (9, 0), True, 80 * 2**30)
CPU = Device("cpu", None, "a CPU", None, False, None)
GUESS: dict[str, Any] = {"num_speculative_tokens": 6, "prompt_lookup_max": 4}


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("transformers", {"beams": 1}, "engine_options: engine transformers has no beams; it has none"),
        ("lead", {"sentences": 4}, "engine_options: engine lead has no sentences; it has none"),
        ("vllm", {"max_num_seqs": 4}, "engine vllm has no max_num_seqs; it has max_num_batched_tokens, gpu_memory_ut"),
        ("vllm", {"max_num_batched_tokens": 0}, "max_num_batched_tokens is a whole number, at least 1, not 0"),
        ("vllm", {"max_num_batched_tokens": 8.5}, "max_num_batched_tokens is a whole number, at least 1, not 8.5"),
        ("vllm", {"max_num_batched_tokens": True}, "max_num_batched_tokens is a whole number, at least 1, not True"),
        ("vllm", {"gpu_memory_utilization": 90}, "gpu_memory_utilization is a number, from 0.01 to 1, not 90"),
        ("vllm", {"gpu_memory_utilization": "all"}, "gpu_memory_utilization is a number, from 0.01 to 1, not 'all'"),
        ("vllm", {"kv_cache_dtype": "int4"}, "kv_cache_dtype is one of fp8, fp8_e4m3, fp8_e5m2, not 'int4'"),
        ("vllm", {"prompt_lookup_max": 4}, "prompt_lookup_max has no effect without num_speculative_tokens"),
    ],
)
def test_what_an_engine_does_not_take_is_refused_in_a_sentence(
    engine: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as refusal:
        GpuSettings.model_validate({"engine": engine, "engine_options": options})
    assert refusal.value.error_count() == 1


def test_a_preset_takes_options() -> None:
    text = "presets: {tuned: {engine: vllm, engine_options: {max_num_batched_tokens: 32768}}}"
    assert parse_sweep(text, "a sweep").presets["tuned"].engine_options == {"max_num_batched_tokens": 32768}


def resolved(folder: Path, device: Device = H100, **options: Any) -> ModelSettings:
    gpu = GpuSettings(engine="vllm", engine_options=options)
    return resolve(gpu, SummarizerSettings(model=str(folder), max_input_tokens=32, max_output_tokens=12), (device,))


@pytest.mark.usefixtures("echo")
def test_the_fingerprint_holds_the_options_that_can_change_a_text(causal: Path) -> None:
    plain = resolved(causal)
    assert "engine_options" not in plain.all_settings()
    others: dict[str, Any] = {"max_num_batched_tokens": 32768, "gpu_memory_utilization": 0.5}
    faster = resolved(causal, **others)
    assert faster.fingerprint == plain.fingerprint
    assert faster.all_settings()["engine_options"] == others
    fingerprints = {plain.fingerprint}
    for options in ({"kv_cache_dtype": "fp8"}, GUESS, GUESS | {"prompt_lookup_max": 3}):
        changed = resolved(causal, **options, **others)
        assert changed.text_settings()["engine_options"] == options
        assert changed.all_settings()["engine_options"] == options | others
        fingerprints.add(changed.fingerprint)
    assert len(fingerprints) == 4


@pytest.mark.usefixtures("echo")
def test_options_for_a_gpu_are_refused_on_a_cpu(causal: Path) -> None:
    resolved(causal, CPU, max_num_batched_tokens=4096)
    for name, option in ENGINES["vllm"].options.items():
        if option.devices == ("cuda",) and not option.needs:
            value = option.values[0] if option.values else 1
            with pytest.raises(UnsupportedError, match=f"engine_options: {name} is for cuda, not a CPU. Leave it out"):
                resolved(causal, CPU, **{name: value})


def settings(**changes: Any) -> dict[str, Any]:
    common = {"model": "folder", "precision": "bfloat16", "max_input_tokens": 672, "max_output_tokens": 256}
    return common | {"batch_size": 512, "sharing": 1, "options": {}} | changes


def test_on_a_gpu_vllm_chooses_what_no_setting_names() -> None:
    arguments = engine_arguments(settings(), "cuda")
    assert (arguments["max_num_seqs"], arguments["max_model_len"], arguments["dtype"]) == (512, 928, "bfloat16")
    chosen_by_vllm = {"max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_dtype", "speculative_config"}
    assert not chosen_by_vllm & arguments.keys()
    assert not {"block_size", "num_gpu_blocks_override", "kv_cache_memory_bytes", "enforce_eager"} & arguments.keys()


def test_workers_and_runs_on_one_gpu_share_its_memory() -> None:
    assert engine_arguments(settings(sharing=2), "cuda")["gpu_memory_utilization"] == 0.45
    own = {"gpu_memory_utilization": 0.3}
    assert engine_arguments(settings(sharing=2, options=own), "cuda")["gpu_memory_utilization"] == 0.3
    assert "gpu_memory_utilization" not in engine_arguments(settings(sharing=2), "cpu")


@pytest.mark.usefixtures("echo")
def test_two_workers_fit_whose_kv_caches_would_not(causal: Path) -> None:
    """What does not fit into vLLM's cache waits."""
    gpu = GpuSettings(engine="vllm", batch_size=1_000_000, workers_per_device=2)
    limits = SummarizerSettings(model=str(causal), max_input_tokens=32, max_output_tokens=12)
    small = replace(H100, memory_bytes=2 * 2**30)
    resolve(gpu, limits, (small,))
    with pytest.raises(UnsupportedError, match="workers_per_device 2"):
        resolve(gpu, limits, (replace(H100, memory_bytes=2**30),))


def test_options_are_given_to_vllm_under_its_own_names() -> None:
    options = {"kv_cache_dtype": "fp8", "max_num_batched_tokens": 32768, **GUESS}
    arguments = engine_arguments(settings(options=options), "cuda")
    assert (arguments["kv_cache_dtype"], arguments["max_num_batched_tokens"]) == ("fp8", 32768)
    assert arguments["speculative_config"] == {"method": "ngram", **GUESS}
    assert not GUESS.keys() & arguments.keys()


def test_a_worker_gets_the_options_and_how_many_share_its_device(
    causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys; s = json.loads(sys.stdin.readline()); "
        "print(json.dumps({'ready': {'device_name': f\"{s['sharing']} {s['options']}\"}}), flush=True)"
    )
    environments = "sum_assets.summarizer.engine_environments"
    monkeypatch.setattr(f"{environments}.python_of", lambda *_: Path(sys.executable))
    monkeypatch.setattr("sum_assets.summarizer.engines.subprocess_engine.program", lambda _: script)
    monkeypatch.setenv("SUM_ASSETS_DEVICE_SLOTS", "2")
    engine = open_summarizer(resolved(causal, CPU, max_num_batched_tokens=4096))
    assert engine.state().device_name == "2 {'max_num_batched_tokens': 4096}"
