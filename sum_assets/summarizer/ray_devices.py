"""Joins a Ray cluster and finds its devices."""

import signal
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import psutil
import ray
from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sum_assets.errors import UnsupportedError, UserError, first_line
from sum_assets.summarizer.devices import find_device
from sum_assets.summarizer.types import Device

#: Seconds that Ray may take to place a worker.
PLACEMENT_TIMEOUT = 60.0


def connect(address: str) -> None:
    """Join a cluster, once in a process. Raises UserError if none answers."""
    if ray.is_initialized():
        return
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        host, _, port = address.rpartition(":")
        if host:  # if nothing listens, Ray itself retries for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, configure_logging=False)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise UserError(
            f"ray_address {address}: no Ray cluster answers there ({first_line(error)}). Start it with `ray "
            "start`, this host included."
        ) from error
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)  # Ray replaces it


def cluster_devices(address: str, device: str) -> tuple[Device, ...]:
    """Return the GPUs of a cluster, or the CPU of each node.

    `device` is cpu, cuda or auto; auto means the GPUs if there are any. Raises UnsupportedError if the cluster has no
    such device, and UserError if the devices do not answer.
    """
    connect(address)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    gpus = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in nodes}
    kind: Literal["cpu", "cuda"] = "cuda" if device == "cuda" or (device == "auto" and any(gpus.values())) else "cpu"
    counts = gpus if kind == "cuda" else {node["NodeID"]: 1 for node in nodes if node["Resources"].get("CPU")}
    probes = [
        ray.remote(_probe)
        .options(
            num_cpus=0,
            num_gpus=0.01 if kind == "cuda" else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        .remote(kind)
        for node_id, count in counts.items()
        for _ in range(count)
    ]
    if not probes:
        raise UnsupportedError(f"ray_address {address}: the cluster has no GPU. Set device: cpu.")
    _, waiting = ray.wait(probes, num_returns=len(probes), timeout=PLACEMENT_TIMEOUT)
    if waiting:
        raise UserError(
            f"ray_address {address}: {len(waiting)} of its devices did not answer. Wait, or end the "
            "programs that use its GPUs."
        )
    devices = []
    for probe in probes:
        with suppress(
            NodeDiedError, TaskUnschedulableError, WorkerCrashedError
        ):  # Ray had not noticed that the node is gone
            devices.append(ray.get(probe))
    if not devices:
        raise UserError(f"ray_address {address}: its nodes with devices are gone. Start them again.")
    return tuple(devices)


def _probe(kind: str) -> Device:
    """Return the device that Ray gave this task. A CPU comes with the free memory of its host."""
    device = find_device(kind)
    return replace(device, memory_bytes=psutil.virtual_memory().available) if kind == "cpu" else device
