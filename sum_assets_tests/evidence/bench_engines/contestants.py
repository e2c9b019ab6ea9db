"""The contestants: the naive loop, other libraries called directly, and our engines."""

from dataclasses import dataclass, field
from typing import Any, Literal

from sum_assets.summarizer.devices import choose_precision, find_device

ROUNDS, ROWS, MORE_ROWS, NAIVE_ROWS, WARM_UP, OUTPUT_TOKENS = 3, 64, 256, 16, 2, 64
SMOL, T5 = "SmolLM2-135M", "T5-base shape"


@dataclass(frozen=True)
class Contestant:
    """One row of the table: a preset of ours in its own cell, or another library with options, on that preset's model.

    `direct` is another library with the settings that our engine gives it.
    """

    name: str
    model: str
    kind: Literal["naive", "peer", "direct", "ours"]
    rows: int = ROWS
    preset: dict[str, Any] = field(default_factory=dict)
    peer: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the file of results."""
        return f"{self.model}, {self.rows}: {self.name}"


CPU = find_device("cpu")
PRECISION = choose_precision("auto", CPU, "llama")
SHORT = {"bfloat16": "bf16", "float32": "f32"}[PRECISION]
#: By default vLLM takes bfloat16 even if a CPU only emulates it, which would take the whole hour.
_VLLM, _VLLM_NAME = ({}, "vLLM, defaults") if CPU.computes_bfloat16 else ({"dtype": PRECISION}, f"vLLM, {SHORT}")
_OURS = {"precision": PRECISION, "batch_size": 64}
_OURS_VLLM = {"engine": "vllm", "precision": PRECISION, "batch_size": 256}
_OPENVINO = {"engine": "openvino", "precision": PRECISION, "batch_size": 256}
_INT8 = _OPENVINO | {"quantization": "int8"}
#: What our worker sets for `_INT8`.
_INT8_DIRECT = {
    "scheduler": {"max_num_seqs": 256, "max_num_batched_tokens": 2048, "enable_prefix_caching": True},
    "properties": {
        "INFERENCE_PRECISION_HINT": SHORT,
        "KV_CACHE_PRECISION": SHORT,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "192",
    },
}
_DIRECT = "OpenVINO GenAI int8, our settings, directly"
CONTESTANTS = [
    Contestant("the naive loop", SMOL, "naive", NAIVE_ROWS),
    Contestant(f"transformers generate, {SHORT}, batch 16", SMOL, "peer", peer="transformers"),
    Contestant(_VLLM_NAME, SMOL, "peer", peer="vllm", options=_VLLM),
    Contestant("OpenVINO GenAI, defaults", SMOL, "peer", preset=_OPENVINO, peer="openvino"),
    Contestant(_DIRECT, SMOL, "direct", preset=_INT8, peer="openvino", options=_INT8_DIRECT),
    Contestant(f"sum_assets, transformers {SHORT}", SMOL, "ours", preset=_OURS),
    Contestant(f"sum_assets, vllm {SHORT}", SMOL, "ours", preset=_OURS_VLLM),
    Contestant(f"sum_assets, openvino {SHORT}", SMOL, "ours", preset=_OPENVINO),
    Contestant("sum_assets, openvino int8", SMOL, "ours", preset=_INT8),
    Contestant("the naive loop", T5, "naive", NAIVE_ROWS // 2),
    Contestant("CTranslate2 int8, defaults", T5, "peer", peer="ctranslate2"),
    Contestant(f"sum_assets, transformers {SHORT}", T5, "ours", preset=_OURS),
    Contestant("sum_assets, ctranslate2 int8", T5, "ours", preset={"engine": "ctranslate2", "quantization": "int8"}),
]
if CPU.computes_bfloat16:  # without it, they alone would take the hour
    CONTESTANTS += [
        Contestant(_VLLM_NAME, SMOL, "peer", MORE_ROWS, peer="vllm"),
        Contestant("OpenVINO GenAI, defaults", SMOL, "peer", MORE_ROWS, preset=_OPENVINO, peer="openvino"),
        Contestant(f"sum_assets, vllm {SHORT}", SMOL, "ours", MORE_ROWS, preset=_OURS_VLLM),
        Contestant("sum_assets, openvino int8", SMOL, "ours", MORE_ROWS, preset=_INT8),
    ]
