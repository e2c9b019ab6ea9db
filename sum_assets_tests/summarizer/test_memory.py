"""Too many workers for a device are refused before they start, with the sum."""

from pathlib import Path

import pytest
from transformers import LlamaConfig, T5Config

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import GpuSettings, resolve_settings
from sum_assets.summarizer.memory import check_memory, predict
from sum_assets.summarizer.types import Device
from sum_assets_tests.summarizer.engines.test_transformers_engine import copier_settings

K80 = Device("cuda", 0, "Tesla K80", (3, 7), False, 12 * 10**9)
T5_LARGE = T5Config(d_model=1024, d_kv=64, d_ff=4096, num_layers=24, num_heads=16)


def test_weights_and_keys_are_counted() -> None:
    need = predict(T5_LARGE, "float32", "none", tokens=928)
    assert need.weights == pytest.approx(4 * 737.7e6, rel=0.001), "T5 large: 738 million"
    assert need.kv_cache == 2 * 24 * 16 * 64 * 4 * 928
    half = predict(T5_LARGE, "bfloat16", "none", tokens=928)
    assert (2 * half.weights, 2 * half.kv_cache) == (need.weights, need.kv_cache)
    assert need.weights / 8 < predict(T5_LARGE, "float32", "nf4", tokens=1).weights < need.weights / 5
    grouped = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3
    )
    assert predict(grouped, "float32", "none", tokens=10).kv_cache == 2 * 30 * 3 * 64 * 4 * 10


def test_the_sum_is_shown() -> None:
    need = predict(T5_LARGE, "float32", "none", tokens=928)
    check_memory(need, K80, 3)
    with pytest.raises(UnsupportedError) as raised:
        check_memory(need, K80, 4)
    assert str(raised.value) == (
        "workers_per_device 4: 2.7 GiB of weights, 0.2 GiB of KV cache and 0.5 GiB of libraries for each make "
        "13.7 GiB, and Tesla K80 has 11.2 GiB. Set workers_per_device: 3, or a smaller batch_size."
    )


def test_a_run_is_refused_before_anything_is_loaded(t5: Path) -> None:
    gpu = GpuSettings(device="cpu", precision="float32", workers_per_device=9999)
    with pytest.raises(UnsupportedError, match=r"workers_per_device 9999: .* Set workers_per_device: \d+"):
        resolve_settings(gpu, copier_settings(t5))
