"""Trained copiers, which know what to write: precisions, attention kernels, quantizations, engines."""

from functools import cache
from pathlib import Path
from typing import Any

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import SummarizerSettings
from sum_assets.summarizer.plain_generate import plain_generate
from sum_assets_tests.evidence.prove_gpu import countdown
from sum_assets_tests.evidence.prove_gpu.case import Machine, Result, check
from sum_assets_tests.evidence.prove_gpu.writing import (
    first_difference,
    resolved,
    share,
    try_variants,
    written_by,
)
from sum_assets_tests.evidence.prove_models.families import MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS, TEXTS, Family, save
from sum_assets_tests.tiny_models import COPIED, save_copier, sentence

#: Sentences that copiers did not see in training, and their share that must be copied where numbers are coarse.
_SENTENCES = [sentence(10**6 + i, 6 + i % 10) for i in range(48)]
_COARSE = 0.9
#: Its sizes are multiples of the blocks in which 4 bits are stored.
_WIDE_LLAMA = Family(
    "llama",
    {
        "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 256, "initializer_range": 0.4,
    },
)  # fmt: skip


def copier(machine: Machine, kind: str) -> Path:
    """Return the folder of a trained copier, `t5` or `bart`, trained on first use."""
    folder = machine.models / kind
    if not folder.exists():
        save_copier(kind, folder)
    return folder


def _settings(folder: Path) -> SummarizerSettings:
    return SummarizerSettings(model=str(folder), prompt="", max_input_tokens=32, max_output_tokens=16)


@cache
def _right(folder: Path) -> list[str]:
    """Return what `generate` writes on the CPU in float32. Raises AssertionError if that is not what was learnt."""
    written = [summary.text for summary in plain_generate(resolved(_settings(folder), device="cpu"), _SENTENCES)]
    assert share(written, [" ".join(text.split()[:COPIED]) for text in _SENTENCES]) > 0.9, "it has not learnt to copy"
    return written


def copies(machine: Machine, kind: str, gpu: dict[str, Any], graphs: bool = True) -> Result:
    """Have a copier copy with each attention kernel, without and with CUDA graphs."""
    ways: dict[str, dict[str, Any]] = {name: {"attention": name} for name in ("sdpa", "eager", "flash_attention_2")}
    if graphs and not machine.rehearsal:
        ways["sdpa, CUDA graphs"] = {"attention": "sdpa", "cuda_graphs": True}
        ways["sdpa, CUDA graphs if they compute the same"] = {"attention": "sdpa", "cuda_graphs": "auto"}
    settings = _settings(copier(machine, kind))
    written, errors, unsupported = try_variants(
        settings, _SENTENCES, ways, device=machine.device, batch_size=len(_SENTENCES), **gpu
    )
    right = _right(copier(machine, kind))
    exact = gpu.get("precision", "float32") == "float32" and "quantization" not in gpu
    wrong = [f"{way}: {error}" for way, error in errors.items()]
    for way, texts in written.items():
        if share(texts, right) < (1 if exact else _COARSE):
            wrong.append(
                f"{way}: {share(texts, right):.0%} are right, the first wrong {first_difference(texts, right)}"
            )
    if not written and not wrong:
        raise UnsupportedError(next(iter(unsupported.values())))
    shares = [f"{way} {share(texts, right):.0%} right" for way, texts in written.items()]
    return check(wrong, "; ".join([*shares, *(f"{way} cannot be had: {why}" for way, why in unsupported.items())]))


def quantized(machine: Machine, gpu: dict[str, Any]) -> Result:
    """Hold a quantized Llama against `generate` with the same quantization, row by row.

    Three of twelve texts may differ: 8 bits round what rows of a batch and single rows compute otherwise.
    """
    folder = machine.models / "wide Llama"
    if not folder.exists():
        save(_WIDE_LLAMA, folder)
    settings = SummarizerSettings(
        model=str(folder), prompt="", max_input_tokens=MAX_INPUT_TOKENS, max_output_tokens=MAX_OUTPUT_TOKENS
    )
    texts = list(TEXTS.values())
    right = [s.text for s in plain_generate(resolved(settings, device=machine.device, **gpu), texts)]
    written = written_by(settings, texts, device=machine.device, batch_size=5, **gpu)
    equal, kinds = share(written, right), len(set(right))
    wrong = [] if equal >= 0.75 else [f"{equal:.0%} are equal, the first other {first_difference(written, right)}"]
    wrong += [] if kinds >= 9 else [f"only {kinds} of {len(texts)} texts differ from each other: they prove nothing"]
    return check(wrong, f"{equal:.0%} of {len(texts)} texts are equal")


def engine(machine: Machine, kind: str, gpu: dict[str, Any]) -> Result:
    """Have another engine count down (`causal`) or copy (`t5`, `bart`)."""
    if kind == "causal":
        folder = machine.models / "tiny Llama"
        if not folder.exists():
            countdown.save_countdown("tiny Llama", folder, "cpu")
        lengths = [2 + i % 9 for i in range(24)]
        texts = countdown.texts("tiny Llama", [20 + i for i in range(24)], lengths)
        right = [countdown.countdown(length) for length in lengths]
        settings = SummarizerSettings(
            model=str(folder), prompt=countdown.PROMPT, max_input_tokens=64, max_output_tokens=16
        )
    else:
        texts, settings = _SENTENCES, _settings(copier(machine, kind))
        right = _right(copier(machine, kind))
    written = written_by(settings, texts, device=machine.device, batch_size=16, **gpu)
    wrong = [] if share(written, right) >= _COARSE else [f"wrong, the first {first_difference(written, right)}"]
    return check(wrong, f"{share(written, right):.0%} of {len(texts)} texts are right")
