"""Plain `generate` on a Ray cluster, for a run whose devices are there."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray

from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.parallel.ray_worker import ModelBundle
from sum_assets.summarizer.plain_generate import PlainSummary, plain_generate
from sum_assets.summarizer.ray_devices import connect


def plain_generate_on_ray(resolved: ModelSettings, texts: Sequence[str]) -> list[PlainSummary]:
    """Return what `plain_generate` does, of one device of the cluster."""
    assert resolved.ray_address
    connect(resolved.ray_address)
    options: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0 if resolved.device.kind == "cpu" else 1, "max_retries": 0}
    task = ray.remote(_generate).options(**options)
    written: list[PlainSummary] = ray.get(task.remote(resolved, ModelBundle.pack(resolved), list(texts)))
    return written


def _generate(resolved: ModelSettings, bundle: ModelBundle, texts: list[str]) -> list[PlainSummary]:
    files = replace(resolved.files, folder=bundle.unpack())
    return plain_generate(replace(resolved, files=files), texts)
