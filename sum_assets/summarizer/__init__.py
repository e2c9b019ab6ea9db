"""Abstracts in, summaries out: no Dagster, no SQL.

`open_summarizer` is the one door; it imports torch and an engine only when it is passed through.
"""

from typing import TYPE_CHECKING

from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.types import Abstract, EngineState, Rejection, Summarizer, Summary, WorkerState
from sum_assets.summarizer.user_settings import GpuSettings, SummarizerSettings

if TYPE_CHECKING:
    from sum_assets.summarizer.resolved_settings import ResolvedSettings


def resolve_settings(gpu: GpuSettings, summarizer: SummarizerSettings) -> "ResolvedSettings":
    """Turn every `auto` into a choice and find the model's files; nothing is loaded.

    Raises UnsupportedError where device, model or libraries cannot serve a setting, UserError where the
    model cannot be found.
    """
    from sum_assets.summarizer.engine_registry import ENGINES

    if not ENGINES[gpu.engine].has_model:  # without torch, which takes seconds to import
        from sum_assets.summarizer.resolved_settings import resolve_without_model

        return resolve_without_model(gpu)
    from sum_assets.summarizer.resolve import resolve

    return resolve(gpu, summarizer)


def open_summarizer(resolved: "ResolvedSettings", *, naive: bool = False) -> Summarizer:
    """Load the model and return the engine that serves it.

    `naive` pads every input to the input limit and leaves decoding to transformers: what a plain loop does.
    """
    from sum_assets.summarizer.engine_registry import import_attribute

    if not resolved.spec.has_model:
        engine: Summarizer = import_attribute(resolved.spec.opens)(resolved)
        return engine
    from sum_assets.summarizer.engines.token_engine import TokenEngine, load_generator
    from sum_assets.summarizer.model_settings import ModelSettings

    assert isinstance(resolved, ModelSettings)
    if resolved.ray_address:
        from sum_assets.summarizer.parallel.ray_worker_pool import open_ray_pool

        return TokenEngine(resolved, lambda _: open_ray_pool(resolved))
    if len(resolved.worker_devices) > 1:
        from sum_assets.summarizer.parallel.worker_pool import open_pool

        return TokenEngine(resolved, lambda tokenizer: open_pool(resolved, tokenizer))
    ahead = resolved.device.kind != "cpu" and not naive
    return TokenEngine(resolved, lambda tokenizer: load_generator(resolved, tokenizer, naive=naive), ahead=ahead)


__all__ = [
    "Abstract",
    "EngineState",
    "GpuSettings",
    "Phases",
    "Rejection",
    "Summarizer",
    "SummarizerSettings",
    "Summary",
    "WorkerState",
    "open_summarizer",
    "resolve_settings",
]
