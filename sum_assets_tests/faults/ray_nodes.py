"""A Ray cluster of two nodes, each in its own processes: `python -m sum_assets_tests.faults.ray_nodes FOLDER`.

It prints its address, and kills the second node on a line of input. It ends with its input, or on SIGTERM.
"""

import sys
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from sum_assets.summarizer.parallel.ray_worker import Actor
from sum_assets_tests.faults.slow_worker import slow


class SlowActor(Actor):
    """An actor that is slowed."""

    def __init__(self) -> None:
        slow()
        super().__init__()


def main() -> None:
    """Start the nodes, each with its own home, as if they were two hosts."""

    def node(name: str) -> dict[str, Any]:
        return {"num_cpus": 1, "env_vars": {"SUM_ASSETS_HOME": str(Path(sys.argv[1]) / name)}}

    cluster = Cluster(initialize_head=True, head_node_args={**node("first"), "include_dashboard": False})
    try:
        second = cluster.add_node(**node("second"))
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(second, allow_graceful=False)
            print("killed", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
