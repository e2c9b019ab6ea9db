"""What is proved, and in which order: correctness, then rates by their importance."""

from collections.abc import Iterator
from typing import Any

from sum_assets_tests.evidence.prove_gpu.case import Case

#: Families that our own loop decodes.
_OURS = ("T5", "mT5", "BART", "mBART", "PEGASUS", "Llama", "Qwen2", "Qwen3")
#: Families that are left to `generate`.
_OTHERS = (
    "UMT5", "LongT5", "LongT5, global", "PEGASUS-X", "BigBird-PEGASUS", "Marian", "LED", "ProphetNet",
    "Mistral, window", "Mixtral", "Qwen3-MoE", "Gemma", "Gemma 2", "Gemma 3", "Phi", "Phi-3", "OPT", "GPT-2",
    "GPT-NeoX", "Granite", "OLMo2", "SmolLM3", "LFM2", "Mamba", "RWKV",
)  # fmt: skip
_REHEARSED = ("T5", "Llama", "GPT-2")
_QUANTIZATIONS = ("int8", "nf4", "fp4", "torchao_int8")
_ILLEGAL, _ASSERT = "an illegal memory access was encountered", "device-side assert triggered"
T5, SMALL, LARGE = "T5-large", "SmolLM2-135M", "Qwen2.5-1.5B"


def correctness(*, rehearsal: bool) -> Iterator[Case]:
    """Yield the checks. A rehearsal has one of each kind."""
    yield Case("rates of the device", ".device:rates", limit=200)
    yield Case("power, utilization and memory", ".device:meter")
    kinds = ("t5",) if rehearsal else ("t5", "bart")
    for kind in kinds:
        yield Case(f"copies: {kind}, float32", ".trained:copies", {"kind": kind, "gpu": {}}, limit=200)
    for name in _REHEARSED if rehearsal else _OURS:
        yield Case(f"family {name}", ".families:family", {"name": name})
    for kind in kinds:
        for precision in ("bfloat16", "float16"):
            gpu: dict[str, Any] = {"precision": precision}
            yield Case(f"copies: {kind}, {precision}", ".trained:copies", {"kind": kind, "gpu": gpu})
        for quantization in _QUANTIZATIONS[1:2] if rehearsal else _QUANTIZATIONS:
            gpu = {"precision": "auto", "quantization": quantization}
            yield Case(f"copies: {kind}, {quantization}", ".trained:copies", {"kind": kind, "gpu": gpu})
    for quantization in _QUANTIZATIONS[:1] if rehearsal else _QUANTIZATIONS:
        gpu = {"quantization": quantization}
        yield Case(f"generate with {quantization}", ".trained:quantized", {"gpu": gpu})
    yield from _faults(rehearsal=rehearsal)
    for engine, kind, gpu in (
        ("ctranslate2", "t5", {}),
        ("ctranslate2", "t5", {"precision": "auto"}),
        ("ctranslate2", "t5", {"quantization": "int8"}),
        ("vllm", "causal", {}),
    ):
        name = ", ".join(["engine " + engine, *gpu.values()])
        yield Case(name, ".trained:engine", {"kind": kind, "gpu": {"engine": engine, **gpu}}, limit=150)
    for name in () if rehearsal else _OTHERS:
        yield Case(f"family {name}", ".families:family", {"name": name})


def _faults(*, rehearsal: bool) -> Iterator[Case]:
    for graphs in (True, False) if rehearsal else (False, True):
        name = "out of memory" + (", CUDA graphs" if graphs else "")
        alone = not (rehearsal and graphs)  # which says no more than that a CPU has none
        yield Case(name, ".faults:out_of_memory", {"graphs": graphs}, alone=alone)
    for how in (_ILLEGAL,) if rehearsal else (_ILLEGAL, _ASSERT):
        yield Case(f"lost device: {how}", ".faults:lost_device", {"how": how}, alone=True)
    yield Case("a new process after a lost device", ".faults:write")
    yield Case("two workers on the device", ".faults:two_workers", limit=150)


def speed(*, rehearsal: bool, slow: bool = False) -> Iterator[Case]:
    """Yield rates to measure, the most important first; models are made when they are first needed.

    A `slow` device, older than compute capability 8.0, gets a quarter of the batch sizes.
    """
    made = set()
    for shape, what, gpu in _rehearsed_rates() if rehearsal else _rates(4 if slow else 1):
        if shape not in made:
            made.add(shape)
            yield Case(f"make {shape}", ".speed:prepare", {"shape": shape}, limit=120)
        arguments: dict[str, Any] = {"shape": shape, "seconds": 0.3 if rehearsal else 8.0}
        if what == "generate":
            function, arguments = ".speed:generate", arguments | {"batch_size": gpu["batch_size"]}
        else:
            function, arguments = ".speed:ours", arguments | {"gpu": gpu, "naive": what == "naive"}
        name = " ".join([f"rate: {shape}, {what}", *(f"{key}={value}" for key, value in gpu.items())])
        yield Case(name, function, arguments, limit=75, may_be_slow=True)


def _rates(part: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield model, kind and settings; batch sizes are divided by `part`."""
    graphs = {"cuda_graphs": True}
    most, many, few = 1024 // part, 256 // part, 64 // part
    for shape, size in ((T5, few), (SMALL, many), (LARGE, many)):
        yield shape, "ours", {"batch_size": size}
        yield shape, "ours", {"batch_size": size, **graphs}
        yield shape, "generate", {"batch_size": size}
        if shape == T5:
            yield shape, "ours", {"batch_size": many, **graphs}
    for shape in (T5, LARGE):
        yield shape, "ours", {"batch_size": "auto", "cuda_graphs": "auto"}
    yield T5, "ours", {"engine": "ctranslate2", "batch_size": few}
    yield T5, "ours", {"engine": "ctranslate2", "batch_size": many, "quantization": "int8"}
    yield SMALL, "ours", {"engine": "vllm", "batch_size": 256}
    yield LARGE, "ours", {"engine": "vllm", "batch_size": 256}
    yield T5, "naive", {"precision": "float32", "batch_size": 1, "attention": "eager"}
    yield T5, "ours", {"batch_size": most, **graphs}
    yield T5, "generate", {"batch_size": many}
    yield SMALL, "ours", {"batch_size": most, **graphs}
    yield LARGE, "ours", {"batch_size": few, **graphs}
    yield T5, "ours", {"precision": "float32", "batch_size": few}
    for quantization in ("torchao_int8", "int8", "nf4"):
        yield T5, "ours", {"quantization": quantization, "batch_size": few}
    yield LARGE, "ours", {"quantization": "nf4", "batch_size": few}
    yield T5, "ours", {"batch_size": few, "workers_per_device": 2}
    yield T5, "ours", {"precision": "float16", "batch_size": few}
    yield T5, "ours", {"batch_size": few // 4, **graphs}
    yield SMALL, "ours", {"batch_size": few, **graphs}


def _rehearsed_rates() -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "tiny T5", "ours", {"batch_size": "auto", "cuda_graphs": "auto"}
    yield "tiny T5", "generate", {"batch_size": 16}
    yield "tiny Llama", "ours", {"batch_size": 16}
    yield "tiny Llama", "generate", {"batch_size": 16}
    yield "tiny T5", "naive", {"precision": "float32", "batch_size": 1, "attention": "eager"}
    yield "tiny T5", "ours", {"engine": "ctranslate2", "batch_size": 16}
