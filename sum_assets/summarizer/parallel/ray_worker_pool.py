"""Opens a pool of workers on a Ray cluster."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray

from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.parallel.batch_scheduler import WorkerStats
from sum_assets.summarizer.parallel.ray_worker import ModelBundle, RayWorker
from sum_assets.summarizer.parallel.worker_pool import Pool, Worker
from sum_assets.summarizer.ray_devices import connect


def open_ray_pool(resolved: ModelSettings) -> Pool:
    """Have Ray place `workers_per_device` workers for each device of the cluster."""
    assert resolved.ray_address
    connect(resolved.ray_address)
    per_device, on_cpu = resolved.workers_per_device, resolved.device.kind == "cpu"
    cpus = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
    threads = resolved.threads_per_worker or (max(1, min(cpus) // per_device) if on_cpu else None)
    options: dict[str, Any] = {
        "num_cpus": threads or 0,
        "num_gpus": 0 if on_cpu else 1 / per_device,
        "max_restarts": 0,
        "scheduling_strategy": "SPREAD",
    }
    bundle = ModelBundle.pack(resolved)
    worker_settings = replace(resolved, threads_per_worker=threads)

    def start() -> Callable[[], Worker]:
        return lambda: RayWorker(worker_settings, bundle, options)

    numbers = range(1, len(resolved.worker_devices) + 1)
    return Pool(resolved, {WorkerStats(f"worker {n} on Ray", f"{n}"): start() for n in numbers})
