"""What goes into a batch where the settings say `auto`, on devices that are not here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import MambaConfig, Qwen2Config, T5Config

from sum_assets.summarizer import GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.batch_size import choose_batch
from sum_assets.summarizer.engine_registry import ENGINES
from sum_assets.summarizer.engines.decoding.decoder import prefill_chunk
from sum_assets.summarizer.resolve import resolve
from sum_assets.summarizer.types import Device, Precision
from sum_assets_tests.summarizer.engines.test_transformers_engine import copier_settings

T5_LARGE = T5Config(d_model=1024, d_kv=64, d_ff=4096, num_layers=24, num_heads=16)
QWEN_7B = Qwen2Config(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152064,
)
#: Input and output limits of the lab's model.
LIMITS = SummarizerSettings(max_input_tokens=672, max_output_tokens=256)
CPU = Device("cpu", None, "CPU", None, True, None)


def gpu(gigabytes: int | None) -> Device:
    return Device("cuda", 0, "a GPU", (8, 0), True, gigabytes and gigabytes * 10**9)


def batch(device: Device, config: Any = T5_LARGE, precision: Precision = "bfloat16", **gpu: Any) -> Any:
    settings = GpuSettings.model_validate(gpu)
    return choose_batch(settings, LIMITS, ENGINES[settings.engine], config, precision, (device,))


def rows(device: Device, *arguments: Any, **gpu: Any) -> int:
    """Return the rows of a batch whose first input is as long as the limit."""
    most, tokens = batch(device, *arguments, **gpu)
    return int(most if tokens is None else min(most, tokens // 928))


def test_a_large_gpu_gets_what_pays_and_a_small_one_what_fits() -> None:
    assert batch(gpu(80)) == batch(gpu(40)) == (256, None), "H100, A100"
    assert rows(gpu(80), QWEN_7B) == 256
    # Each row has 0.18 GB of keys and values, beside 3 GB of weights.
    assert 25 <= rows(gpu(12), T5_LARGE, "float32") <= 35, "a K80 chip: a lab ran 27 there"
    assert 35 <= rows(gpu(16), T5_LARGE, "float32") <= 50, "T4, V100"
    assert rows(gpu(12), T5_LARGE, "float32", engine="ctranslate2") == rows(gpu(12), T5_LARGE, "float32")


def test_short_inputs_make_larger_batches_where_memory_is_the_limit() -> None:
    most, tokens = batch(gpu(12), precision="float32")
    assert most == 256
    assert tokens // (200 + 256) > 1.9 * (tokens // 928)


def test_weights_that_fill_the_memory_leave_one_input() -> None:
    assert rows(gpu(16), QWEN_7B) == 1
    assert rows(gpu(16), QWEN_7B, quantization="nf4") > 16


def test_workers_share_the_memory() -> None:
    alone, shared = rows(gpu(12), T5_LARGE, "float32"), rows(gpu(12), T5_LARGE, "float32", workers_per_device=2)
    assert 0 < shared < alone / 2


def test_the_smallest_device_decides() -> None:
    spec = ENGINES["transformers"]
    chosen = choose_batch(GpuSettings(), LIMITS, spec, T5_LARGE, "float32", (gpu(80), gpu(12)))
    assert chosen == batch(gpu(12), precision="float32")


def test_a_state_that_does_not_grow_takes_no_keys_and_values() -> None:
    assert rows(gpu(16), MambaConfig()) == 256


def test_engines_that_queue_get_more() -> None:
    assert batch(gpu(80), QWEN_7B, engine="vllm") == (512, None)
    assert batch(CPU, T5Config(), engine="openvino") == (64, None)


@pytest.mark.parametrize("device", [gpu(None), CPU, Device("mps", None, "Apple GPU", None, False, None)])
def test_elsewhere_it_is_16(device: Device) -> None:
    assert batch(device, T5Config()) == (16, None)


def test_what_is_set_stays() -> None:
    assert batch(gpu(80), batch_size=3) == (3, None)
    assert batch(gpu(80), batch_size=300, batch_tokens=9280) == (300, 9280)
    most, tokens = batch(gpu(80), batch_tokens=9280)
    assert (most >= 9280 // 256, tokens) == (True, 9280), "tokens alone are the limit"
    assert GpuSettings.model_validate({"batch_size": "auto", "cuda_graphs": "auto"}) == GpuSettings()


def test_it_is_recorded_and_changes_no_fingerprint(t5: Path) -> None:
    settings = copier_settings(t5)
    chosen = resolve(GpuSettings(), settings, devices=(gpu(80),))
    assert chosen.all_settings()["batch_size"] == 256
    assert chosen.all_settings()["cuda_graphs"] == "auto"
    small = replace(chosen, batch_size=1, cuda_graphs=False)
    assert small.fingerprint == chosen.fingerprint
    on_cpu = resolve_settings(GpuSettings(device="cpu"), settings).all_settings()
    assert (on_cpu["batch_size"], "cuda_graphs" in on_cpu) == (16, False)
    assert "cuda_graphs" not in resolve(GpuSettings(quantization="int8"), settings, devices=(gpu(80),)).all_settings()


def test_prefill_takes_what_the_memory_holds() -> None:
    assert prefill_chunk("cpu", None) == 1
    assert prefill_chunk("cuda", 80 * 10**9) == prefill_chunk("mps", None) == 16_384
    assert 2_000 < prefill_chunk("cuda", 12 * 10**9) < 4_000
