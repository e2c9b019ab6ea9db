"""What a user chooses: the model and its limits, and how the device is used."""

import json
import re
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from sum_assets.summarizer.engine_options import check_options
from sum_assets.summarizer.engine_registry import ENGINES
from sum_assets.summarizer.types import Quantization

if TYPE_CHECKING:
    Engine = str
else:
    Engine = Literal[tuple(ENGINES)]

DEFAULT_MODEL = "haining/scientific_abstract_simplification"
#: The instruction this model was trained with, and the input limit of its training (its model card).
DEFAULT_PROMPT = "summarize, simplify, and contextualize: "
DEFAULT_INPUT_TOKENS = 672
#: An instruction for causal models, which were trained with none in particular.
CAUSAL_PROMPT = "Summarize this scientific abstract in plain language, in at most three sentences:\n\n"
#: The day that Llama 3's chat templates print where they know no clock.
DEFAULT_DATE = "2024-07-26"
#: Names that `apply_chat_template` gives a meaning of its own.
_RESERVED_OPTIONS = frozenset(
    {
        *("conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt"),
        *("continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length"),
        *("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "strftime_now"),
        *("raise_exception", "self"),
    }
)
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")


class _Settings(BaseModel):
    """Settings that resources and presets extend."""

    @classmethod
    def of(cls, settings: BaseModel) -> Self:
        """Return these fields alone, of an object that has more."""
        return cls.model_validate({name: getattr(settings, name) for name in cls.model_fields})


class GpuSettings(_Settings):
    """The engine and how it uses the devices. Neither devices nor workers nor batches can change a summary's text."""

    model_config = ConfigDict(frozen=True)

    engine: Engine = Field(
        default="transformers",
        description="The library that runs the model. "
        + " ".join(f"{spec.name} {spec.description}." for spec in ENGINES.values()),
    )
    device: str = Field(
        default="auto",
        description="auto, cpu, cuda, cuda:N or mps. auto takes the first CUDA device, else mps, else the CPU.",
    )
    devices: list[str] = Field(
        default=[],
        description="Several devices for one run, instead of `device`: [cuda:0, cuda:1], or [all] for all CUDA "
        "devices.",
    )
    workers_per_device: int = Field(
        default=1,
        description="Worker processes on each device, at least 1. They pull batches from one queue. A single worker "
        "runs inside the step.",
    )
    threads_per_worker: int | None = Field(
        default=None,
        description="CPU threads of each worker. By default a single worker uses as many as torch chooses, and "
        "several workers share that number.",
    )
    ray_address: str | None = Field(
        default=None,
        description="Ray cluster that places the workers: `auto` or HOST:PORT. It uses all its GPUs, or the CPU of "
        "each node with device: cpu. Needs `pip install 'sum-assets[ray]'`.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Number format of weights and arithmetic. auto takes bfloat16 where the device computes in it. "
        "Otherwise it takes float16 where that is fast and the model does not overflow, else float32.",
    )
    batch_size: int | None = Field(
        default=None,
        description="Abstracts per batch, at least 1, or auto: what the memory holds, and no more than pays. It is "
        "halved automatically when memory runs out.",
    )
    batch_tokens: int | None = Field(
        default=None,
        description="Tokens per batch: (longest input + output limit) x rows, for many short or few long abstracts.",
    )
    quantization: Quantization = Field(
        default="none",
        description="Smaller weights: less memory, but other texts. bitsandbytes stores weights in 8 bits (int8) or "
        "4 bits (nf4, fp4). torchao_int8 stores weights and activations in 8 bits. openvino and ctranslate2 have "
        "their own int8.",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="Attention kernel. auto takes sdpa where the model supports it, else eager."
    )
    cuda_graphs: bool | None = Field(
        default=None,
        description="Capture each decoding step as a CUDA graph: true, false or auto, if it gives a plain step's "
        "logits. It helps GPUs that compute faster than Python launches. CUDA and engine transformers only.",
    )
    engine_options: dict[str, Any] = Field(
        default={}, description="Options of the engine's own library, by its names for them. Only vllm has any."
    )

    @field_validator("engine_options")
    @classmethod
    def _known_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        spec = ENGINES.get(info.data.get("engine", ""))  # one that is not valid is refused by itself
        return check_options(spec.name, spec.options, value) if spec else value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError(f"device is auto, cpu, cuda, cuda:N or mps, not {value!r}")
        return value

    @field_validator("batch_size", "cuda_graphs", mode="before")
    @classmethod
    def _auto(cls, value: Any) -> Any:
        return None if value == "auto" else value

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


class SummarizerSettings(_Settings):
    """The model, its prompt and its limits: all of it can change a summary's text."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str = Field(
        default=DEFAULT_MODEL,
        description="A sequence-to-sequence or causal model: Hugging Face Hub ID, folder, or GGUF file.",
    )
    revision: str = Field(default="main", description="Branch, tag or commit of a Hub model. The commit is recorded.")
    prompt: str = Field(
        default=DEFAULT_PROMPT,
        description="Instruction to the model. {abstract} marks where the abstract goes; without it, the abstract "
        "follows the instruction. A causal model's chat template is applied, if it has one.",
    )
    max_input_tokens: int = Field(
        default=DEFAULT_INPUT_TOKENS,
        description="Longest input in tokens, prompt included. A longer abstract is cut and counted as truncated.",
    )
    max_output_tokens: int = Field(
        default=256, description="Longest summary in tokens. A summary that reaches the limit is counted as capped."
    )
    num_beams: int = Field(default=1, description="Beams of the beam search. 1 is greedy decoding.")
    chat_template_options: dict[str, Any] = Field(
        default={},
        description="Variables that the model's chat template reads, for example {enable_thinking: false}.",
    )
    chat_template_date: str = Field(
        default=DEFAULT_DATE, description="The day that a chat template may print as today, as YYYY-MM-DD."
    )
    thoughts: Literal["reject", "cut"] = Field(
        default="reject",
        description="What becomes of a summary that begins with the model's thoughts, as <think>...</think>: it is "
        "rejected, or the thoughts are cut off. A thought without an end is always rejected.",
    )

    @field_validator("model", "revision")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("model and revision must not be empty")
        return value

    @field_validator("prompt")
    @classmethod
    def _one_place(cls, value: str) -> str:
        if value.count("{abstract}") > 1:
            raise ValueError("prompt may contain {abstract} once at most")
        return value

    @field_validator("max_input_tokens", "max_output_tokens", "num_beams")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 1:
            raise ValueError(f"a limit is at least 1, not {value}")
        return value

    @field_validator("chat_template_options")
    @classmethod
    def _plain_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        if reserved := sorted(_RESERVED_OPTIONS & value.keys()):
            raise ValueError(f"chat_template_options must not set {', '.join(reserved)}")
        if empty := sorted(name for name, option in value.items() if option is None):
            raise ValueError(f"chat_template_options: {', '.join(empty)} is null; leave it out")
        try:
            plain = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"chat_template_options holds more than JSON can: {error}") from error
        if plain != value:
            raise ValueError("chat_template_options: the keys of nested options are texts")
        return value

    @field_validator("chat_template_date", mode="before")
    @classmethod
    def _day_of_yaml(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("chat_template_date")
    @classmethod
    def _iso_date(cls, value: str) -> str:
        try:
            day = date.fromisoformat(value)
        except ValueError:
            day = None
        if day is None or day.isoformat() != value:
            raise ValueError(f"chat_template_date is a day as YYYY-MM-DD, for example 2024-07-26, not {value!r}")
        return value
