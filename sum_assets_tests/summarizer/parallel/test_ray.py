"""Workers on a Ray cluster of two nodes, each with its own home, as if they were two hosts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from sum_assets.errors import UnsupportedError, UserError, WorkerError
from sum_assets.summarizer import GpuSettings, open_summarizer, ray_devices, resolve_settings
from sum_assets.summarizer.device_lease import device_lease
from sum_assets.summarizer.parallel import batch_scheduler as scheduler
from sum_assets.summarizer.parallel import ray_worker
from sum_assets_tests.summarizer.engines.test_transformers_engine import copier_settings
from sum_assets_tests.summarizer.parallel.test_worker_pool import resolved, summarize, texts_of
from sum_assets_tests.tiny_models import sentence

_ROOT = Path(__file__).parents[3]
TEXTS = {i: sentence(10**6 + i, 6 + i % 20) for i in range(600)}

pytestmark = pytest.mark.slow  # a cluster takes a minute to start


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    def environment(name: str) -> dict[str, str]:
        return {"SUM_ASSETS_HOME": str(tmp_path / name), "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}

    head = {"num_cpus": 1, "include_dashboard": False, "env_vars": environment("first")}
    started = Cluster(initialize_head=True, head_node_args=head)
    started.add_node(num_cpus=1, env_vars=environment("second"))
    yield started
    ray.shutdown()
    started.shutdown()


def test_two_nodes_write_what_one_process_writes_and_one_that_is_killed_costs_nothing(
    cluster: Cluster, t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "STRAGGLER_TIMEOUT", 20.0)
    one = resolved(t5, workers_per_device=1)
    expected = texts_of(summarize(open_summarizer(one), TEXTS))
    two = resolved(t5, workers_per_device=1, device="auto", ray_address=cluster.address)
    assert two.fingerprint == one.fingerprint
    assert [device.kind for device in two.worker_devices] == ["cpu", "cpu"]
    assert (two.all_settings()["device"], two.all_settings()["ray_address"]) == ("cpu", cluster.address)
    engine = open_summarizer(two)
    assert texts_of(summarize(engine, TEXTS)) == expected
    assert all(worker.rows for worker in engine.state().workers)
    for home in ("first", "second"):
        assert [path.is_dir() for path in (tmp_path / home / "models").glob("ray-*[!k]")] == [True], "the files, once"

    second = next(node for node in cluster.list_all_nodes() if node is not cluster.head_node)
    lists = summarize(engine, TEXTS)
    some = next(lists)
    nodes = ray.nodes()
    monkeypatch.setattr(ray_devices, "PLACEMENT_TIMEOUT", 1.0)
    cluster.remove_node(second, allow_graceful=False)
    assert texts_of(iter([some, *lists])) == expected
    assert texts_of(summarize(engine, TEXTS)) == expected, "the node that is left goes on alone"
    lost = [worker for worker in engine.state().workers if worker.quarantined]
    (reason,) = [worker.quarantined for worker in lost]
    assert reason
    assert "no worker started on Ray within 1 s: the cluster has no room for 0 GPUS, 1 CPUS" in reason
    monkeypatch.setattr(ray_devices, "PLACEMENT_TIMEOUT", 60.0)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)  # as long as Ray has not noticed
    assert len(resolved(t5, workers_per_device=1, ray_address=cluster.address).worker_devices) == 1


def test_where_no_cluster_or_worker_answers_or_there_is_no_gpu_is_named(
    cluster: Cluster, t5: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = {"ray_address": cluster.address, "device": "cuda"}
    with pytest.raises(UnsupportedError, match=r"the cluster has no GPU\. Set device: cpu"):
        resolve_settings(GpuSettings.model_validate(gpu), copier_settings(t5))
    monkeypatch.setattr(ray_worker, "ANSWER_LIMIT", 0.01)
    with pytest.raises(WorkerError, match="a worker on the Ray cluster gives no answer"):
        open_summarizer(resolved(t5, workers_per_device=1, ray_address=cluster.address))
    ray.shutdown()
    with pytest.raises(UserError, match=r"ray_address 127.0.0.1:1: no Ray cluster answers there .* `ray start`"):
        resolve_settings(GpuSettings(ray_address="127.0.0.1:1"), copier_settings(t5))


def test_ray_keeps_account_of_its_devices_and_chooses_them() -> None:
    def stop(message: str) -> None:
        raise AssertionError(message)

    gpu = GpuSettings(ray_address="auto")
    with device_lease(gpu, stop) as first, device_lease(gpu, stop) as second:
        assert first == second == gpu
    with pytest.raises(ValueError, match="Ray chooses the devices: name no devices, and device only as auto, cpu or"):
        GpuSettings(ray_address="auto", device="cuda:1")
