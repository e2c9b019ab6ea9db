"""Decisions for hardware that is not here, from its properties."""

import importlib.util

import pytest

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.devices import (
    _is_built_for,
    check_cuda_graphs,
    check_quantization,
    choose_attention,
    choose_precision,
    find_device,
)
from sum_assets.summarizer.types import Device, Quantization


def gpu(name: str, major: int, minor: int) -> Device:
    return Device("cuda", 0, name, (major, minor), (major, minor) >= (8, 0), 12 * 2**30)


K80, P100, P40 = gpu("Tesla K80", 3, 7), gpu("Tesla P100", 6, 0), gpu("Tesla P40", 6, 1)
V100, T4, A100 = gpu("Tesla V100", 7, 0), gpu("Tesla T4", 7, 5), gpu("A100", 8, 0)
OLD_CPU = Device("cpu", None, "CPU", None, False, None)
NEW_CPU = Device("cpu", None, "CPU", None, True, None)


@pytest.mark.parametrize(
    ("device", "for_t5", "for_llama"),
    [
        (K80, "float32", "float32"),
        (P100, "float32", "float16"),
        (P40, "float32", "float32"),
        (V100, "float32", "float16"),
        (T4, "float32", "float16"),
        (A100, "bfloat16", "bfloat16"),
        (OLD_CPU, "float32", "float32"),
        (NEW_CPU, "bfloat16", "bfloat16"),
    ],
)
def test_auto_precision_is_the_fastest_that_is_real(device: Device, for_t5: str, for_llama: str) -> None:
    assert choose_precision("auto", device, "t5") == for_t5
    assert choose_precision("auto", device, "llama") == for_llama


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        (K80, "float16"),
        (K80, "bfloat16"),
        (P40, "float16"),
        (T4, "bfloat16"),
        (OLD_CPU, "float16"),
        (OLD_CPU, "bfloat16"),
    ],
)
def test_emulated_precision_is_refused(device: Device, precision: str) -> None:
    with pytest.raises(UnsupportedError, match=f"precision {precision}: .* Set .*float32"):
        choose_precision(precision, device, "llama")


@pytest.mark.parametrize(
    ("device", "int8", "nf4"), [(K80, False, False), (P40, False, True), (V100, False, True), (T4, True, True)]
)
def test_quantization_needs_a_kernel(device: Device, int8: bool, nf4: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # whatever is installed here
    for quantization, has_kernel in (("int8", int8), ("nf4", nf4), ("torchao_int8", False)):
        if has_kernel:
            assert check_quantization(quantization, device) == quantization  # type: ignore[arg-type]
        else:
            with pytest.raises(UnsupportedError, match=r"(bitsandbytes|torchao) needs compute capability"):
                check_quantization(quantization, device)  # type: ignore[arg-type]


def test_steps_are_recorded_on_cuda_alone_and_not_with_layers_that_wait_for_it() -> None:
    for device in (K80, A100):
        check_cuda_graphs(device, "nf4")
    with pytest.raises(UnsupportedError, match=r"cuda_graphs: CPU has none\. Leave it out"):
        check_cuda_graphs(NEW_CPU, "none")
    for quantization, library in (("int8", "bitsandbytes"), ("torchao_int8", "torchao")):
        with pytest.raises(UnsupportedError, match=f"cuda_graphs: int8 by {library} waits for the GPU in each layer"):
            check_cuda_graphs(A100, quantization)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quantization", "package"), [("torchao_int8", r"'sum-assets\[torchao\]'"), ("nf4", "bitsandbytes")]
)
def test_a_missing_library_says_how_to_install_it(
    quantization: Quantization, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnsupportedError, match=f"is not installed. `pip install {package}`"):
        check_quantization(quantization, A100)


def test_attention_falls_back_only_when_it_may_choose() -> None:
    assert choose_attention("auto", A100, "bfloat16", has_sdpa=True, has_flash=True) == "sdpa"
    assert choose_attention("auto", K80, "float32", has_sdpa=False, has_flash=False) == "eager"
    for device, precision, has_flash, message in (
        (A100, "bfloat16", False, "this model has none"),
        (T4, "float16", True, "compute capability 8.0"),
        (OLD_CPU, "float32", True, "it needs CUDA"),
        (A100, "float32", True, "not float32"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            choose_attention("flash_attention_2", device, precision, has_sdpa=True, has_flash=has_flash)  # type: ignore[arg-type]
    if importlib.util.find_spec("flash_attn") is None:
        with pytest.raises(UnsupportedError, match=r"flash-attn is not installed"):
            choose_attention("flash_attention_2", A100, "bfloat16", has_sdpa=True, has_flash=True)


def test_kernels_run_within_a_major_version_and_ptx_on_newer() -> None:
    assert _is_built_for((8, 6), ["sm_80"])
    assert not _is_built_for((8, 0), ["sm_86"])
    assert not _is_built_for((3, 7), ["sm_50", "sm_80", "compute_90"])
    assert _is_built_for((12, 0), ["sm_80", "compute_90"])
    assert _is_built_for((9, 0), ["sm_90a"])
    assert _is_built_for((9, 0), ["gfx908", "gfx90a"])


def test_a_missing_device_says_what_to_do() -> None:
    assert find_device("cpu").torch_name == "cpu"
    with pytest.raises(UnsupportedError, match=r"device cuda:99: torch sees .* Set device: cpu"):
        find_device("cuda:99")
