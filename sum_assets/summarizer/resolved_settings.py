"""Resolved settings: every choice made, and the fingerprint of those that can change a text."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.cpu import cpu_name
from sum_assets.summarizer.engine_registry import ENGINES, EngineSpec, import_attribute
from sum_assets.summarizer.types import Device
from sum_assets.summarizer.user_settings import Engine, GpuSettings

#: Sentences that the engine `lead` copies: See et al., Get To The Point (2017), compare their model with three.
LEAD_SENTENCES = 3
_LEAD_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings:
    """Every choice made: no `auto` is left."""

    engine: Engine
    device: Device
    batch_size: int

    @property
    def spec(self) -> EngineSpec:
        """What the engine is."""
        return ENGINES[self.engine]

    def text_settings(self) -> dict[str, Any]:
        """Return all that can change a summary's text; in float32, batch size and device do not."""
        raise NotImplementedError

    def all_settings(self) -> dict[str, Any]:
        """Return the text settings and those that cannot change a text."""
        return {"device": self.device.torch_name, "batch_size": self.batch_size, **self.text_settings()}

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the text settings as sorted JSON."""
        text = json.dumps(self.text_settings(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class LeadSettings(ResolvedSettings):
    """The settings of the engine `lead`, which has no model."""

    def text_settings(self) -> dict[str, Any]:
        """Return the engine and its number of sentences."""
        return {"engine": self.engine, "sentences": LEAD_SENTENCES}


def resolve_without_model(gpu: GpuSettings) -> ResolvedSettings:
    """Resolve the settings of an engine without a model. Raises UnsupportedError where they are shared out."""
    spec = ENGINES[gpu.engine]
    assert spec.settings_class
    if gpu.devices or gpu.workers_per_device > 1 or gpu.ray_address:
        raise UnsupportedError(f"engine {spec.name} has no model to share out. Leave out devices, workers and Ray.")
    device = Device("cpu", None, cpu_name(), None, computes_bfloat16=False, memory_bytes=None)  # nor does it compute
    make = import_attribute(spec.settings_class)
    resolved: ResolvedSettings = make(engine=spec.name, device=device, batch_size=gpu.batch_size or _LEAD_BATCH)
    return resolved
