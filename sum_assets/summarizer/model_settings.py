"""The settings of an engine with a model, resolved. Imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sum_assets.summarizer import engine_environments as environments
from sum_assets.summarizer.checkpoint_quantization import library_of, quantization_of
from sum_assets.summarizer.devices import quantization_library
from sum_assets.summarizer.model_files import ModelFiles
from sum_assets.summarizer.resolved_settings import ResolvedSettings
from sum_assets.summarizer.types import Attention, Batches, Device, Precision, Quantization
from sum_assets.summarizer.user_settings import SummarizerSettings


@dataclass(frozen=True, kw_only=True)
class ModelSettings(ResolvedSettings):
    """The settings of an engine with a model. `attention` is None where the engine has its own.

    `prompt_head` and `prompt_tail` are the token ids that come before and after an abstract.
    """

    settings: SummarizerSettings
    files: ModelFiles
    precision: Precision
    quantization: Quantization
    attention: Attention | None
    #: The model's generation rules, by their names in transformers' GenerationConfig.
    rules: Mapping[str, Any]
    batches: Batches
    #: None where the engine finds out whether it can.
    cuda_graphs: bool | None
    batch_tokens: int | None
    devices: tuple[Device, ...]
    workers_per_device: int
    threads_per_worker: int | None
    ray_address: str | None
    #: Options of the engine's own library, by the names that it gives them.
    engine_options: Mapping[str, Any]
    prompt_head: tuple[int, ...]
    prompt_tail: tuple[int, ...]

    @property
    def worker_devices(self) -> list[Device]:
        """The device of each worker."""
        return [device for device in self.devices for _ in range(self.workers_per_device)]

    @property
    def continuous(self) -> bool:
        """Whether the engine takes up the next input when one ends (continuous batching)."""
        return self.spec.continuous

    @property
    def most_tokens(self) -> int:
        """The limit of input and output together."""
        return self.settings.max_input_tokens + self.settings.max_output_tokens

    @property
    def encoder_decoder(self) -> bool:
        """Whether the model is sequence-to-sequence, rather than causal."""
        return bool(self.files.config.is_encoder_decoder)

    @property
    def quantization_in_force(self) -> str:
        """How the weights are quantized, by us or by who made the checkpoint."""
        return quantization_of(self.files.config) or self.quantization

    @property
    def quantized(self) -> bool:
        """Whether the weights are quantized."""
        return self.quantization_in_force != "none"

    def text_settings(self) -> dict[str, Any]:
        """Return the model, its prompt and limits, how it computes, and the libraries' versions."""
        settings = {
            "engine": self.engine,
            "model_revision": self.files.revision,
            **self.settings.model_dump(exclude={"model", "revision"}),
            "prompt_head": list(self.prompt_head),
            "prompt_tail": list(self.prompt_tail),
            "precision": self.precision,
            "quantization": self.quantization_in_force,
            "attention": self.attention,
            "versions": self._versions(),
        }
        options = {k: v for k, v in self.engine_options.items() if self.spec.options[k].changes_text}
        # Left out where there are none, so that fingerprints stay what they were before there were options.
        return settings | ({"engine_options": options} if options else {})

    def _versions(self) -> dict[str, str]:
        """Return the versions of the libraries that can change a text."""
        if self.spec.environment:
            return environments.versions_of(self.engine)
        libraries = [*self.spec.libraries]
        if self.spec.quantizes_in_torch and self.quantization != "none":
            libraries.append(quantization_library(self.quantization))
        if library := library_of(self.files.config):
            libraries.append(library)
        # Local tags such as +cpu and +cu118 name the device.
        return {library: version(library).partition("+")[0] for library in libraries}

    def all_settings(self) -> dict[str, Any]:
        """Return the text settings, the model's name, and those that cannot change a text."""
        settings = {
            "model": self.settings.model,
            "batch_tokens": self.batch_tokens,
            "batches": self.batches,
            "workers_per_device": self.workers_per_device,
            "threads_per_worker": self.threads_per_worker,
            **super().all_settings(),
        }
        if self.cuda_graphs is not False:
            settings["cuda_graphs"] = self.cuda_graphs or "auto"
        if self.engine_options:
            settings["engine_options"] = dict(self.engine_options)
        if self.ray_address:
            return settings | {"ray_address": self.ray_address, "device": self.device.kind}
        if len(self.devices) > 1:
            del settings["device"]
            settings["devices"] = [device.torch_name for device in self.devices]
        return settings
