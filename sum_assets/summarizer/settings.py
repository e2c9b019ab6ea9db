"""What a user chooses: the model and its limits, and how the device is used."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Precision = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "int8", "nf4", "fp4", "torchao_int8"]
Attention = Literal["eager", "sdpa", "flash_attention_2"]
Engine = Literal["transformers", "openvino", "vllm", "ctranslate2", "lead"]
#: Sentences that the engine `lead` copies: See et al., Get To The Point (2017), hold their model against three.
LEAD_SENTENCES = 3

DEFAULT_MODEL = "haining/scientific_abstract_simplification"
#: The instruction this model was trained with, and the input limit of its training (its model card).
DEFAULT_PROMPT = "summarize, simplify, and contextualize: "
DEFAULT_INPUT_TOKENS = 672

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")


class GpuSettings(BaseModel):
    """The engine and how it uses the devices. Neither devices nor workers nor batches can change a summary's text."""

    model_config = ConfigDict(frozen=True)

    engine: Engine = Field(
        default="transformers",
        description="What runs the model. transformers runs everywhere; openvino (CPU) and vllm (causal models) after "
        "`sum-assets engine install`; ctranslate2 serves sequence-to-sequence models. lead copies the first three "
        "sentences, to hold others against.",
    )
    device: str = Field(
        default="auto",
        description="auto, cpu, cuda, cuda:N or mps. auto takes the first CUDA device, else mps, else the CPU.",
    )
    devices: list[str] = Field(
        default=[],
        description="Several devices for one run, instead of `device`: [cuda:0, cuda:1], or [all] CUDA devices.",
    )
    workers_per_device: int = Field(
        default=1,
        description="Summarizers on each device, at least 1. One alone is the step itself; more are processes of their "
        "own that pull batches from one queue.",
    )
    threads_per_worker: int | None = Field(
        default=None,
        description="CPU threads of each worker. None leaves one worker torch's choice and shares that among several.",
    )
    ray_address: str | None = Field(
        default=None,
        description="Ray cluster, `auto` or HOST:PORT, that places the workers: on all its GPUs, or on all its nodes "
        "with device: cpu. Needs `pip install 'sum-assets[ray]'`.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Type of weights and arithmetic. auto takes bfloat16 where the device computes in it, else "
        "float16 where that is fast and the model keeps its range, else float32.",
    )
    batch_size: int = Field(
        default=16,
        description="Abstracts generated together, at least 1. It halves by itself when memory runs out.",
    )
    batch_tokens: int | None = Field(
        default=None,
        description="Tokens of a batch: its longest input and the output limit, times its rows. It takes the place "
        "of batch_size, so that many short abstracts go together and few long ones.",
    )
    quantization: Quantization = Field(
        default="none",
        description="Weights in 8 bits (int8) or 4 bits (nf4, fp4) by bitsandbytes, weights and activations in 8 bits "
        "by torchao (torchao_int8): less memory, other texts. openvino and ctranslate2 have an int8 of their own.",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="Attention kernel. auto takes sdpa where the model has it, else eager."
    )
    cuda_graphs: bool = Field(
        default=False,
        description="Record each step of decoding and repeat the record, for GPUs that compute a step faster than "
        "Python launches it. CUDA, engine transformers.",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError(f"device is auto, cpu, cuda, cuda:N or mps, not {value!r}")
        return value

    @field_validator("devices", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        return ["all"] if value == "all" else value

    @field_validator("devices")
    @classmethod
    def _known_devices(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if value and info.data.get("device", "auto") != "auto":
            raise ValueError("name device or devices, not both")
        if value != ["all"]:
            for name in value:
                if name == "auto" or not _DEVICE.fullmatch(name):
                    raise ValueError(f"devices are [all], or a list of cpu, cuda:N or mps, not {name!r}")
        if len(set(value)) < len(value):
            raise ValueError("devices names one twice; workers_per_device puts several workers on each")
        return value

    @field_validator("ray_address")
    @classmethod
    def _ray_chooses(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and (info.data.get("devices") or info.data.get("device") not in ("auto", "cpu", "cuda")):
            raise ValueError("Ray chooses the devices: name no devices, and device only as auto, cpu or cuda")
        return value

    @field_validator("batch_size", "batch_tokens", "workers_per_device", "threads_per_worker")
    @classmethod
    def _positive(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value < 1:
            raise ValueError(f"{info.field_name} is at least 1, not {value}")
        return value


class SummarizerSettings(BaseModel):
    """The model, its prompt and its limits: all of it can change a summary's text."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str = Field(
        default=DEFAULT_MODEL,
        description="Hub id, folder, or GGUF file, of a sequence-to-sequence or a causal model.",
    )
    revision: str = Field(default="main", description="Branch, tag or commit of a hub model; the commit is recorded.")
    prompt: str = Field(
        default=DEFAULT_PROMPT,
        description="Instruction. The abstract stands where it says {abstract}, else at its end. A causal "
        "model gets it through its chat template, if it has one.",
    )
    max_input_tokens: int = Field(
        default=DEFAULT_INPUT_TOKENS,
        description="Longest input, prompt included; a longer abstract is cut, and counted as truncated.",
    )
    max_output_tokens: int = Field(
        default=256, description="Longest summary; one that reaches it is counted as capped."
    )
    num_beams: int = Field(default=1, description="Beams of the search; 1 is greedy.")

    @field_validator("model", "revision")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("model and revision are not empty")
        return value

    @field_validator("prompt")
    @classmethod
    def _one_place(cls, value: str) -> str:
        if value.count("{abstract}") > 1:
            raise ValueError("prompt says {abstract} once at most")
        return value

    @field_validator("max_input_tokens", "max_output_tokens", "num_beams")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 1:
            raise ValueError(f"a limit is at least 1, not {value}")
        return value
