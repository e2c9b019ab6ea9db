"""What `make prove-gpu` does on a machine without a GPU: it rehearses, says so, and survives what its cases do."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from sum_assets.summarizer import GpuSettings
from sum_assets_tests.evidence.prove_gpu.case import Case, Machine, Result
from sum_assets_tests.evidence.prove_gpu.plan import correctness, speed
from sum_assets_tests.evidence.prove_gpu.runner import Runner
from sum_assets_tests.evidence.prove_models.families import FAMILIES

ROOT = Path(__file__).parents[2]
PACKAGE = "sum_assets_tests.evidence.prove_gpu"
MODULE = "sum_assets_tests.evidence.test_prove_gpu"
#: What a machine with a GPU need not have.
ABSENT = ("dagster", "psycopg", "matplotlib")


def test_it_is_rehearsed_without_a_gpu_without_a_database_and_without_dagster(t5: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    for module in ABSENT:
        (absent / f"{module}.py").write_text(f"raise ImportError('{module} must not be needed')")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "t5").symlink_to(t5)  # trained already
    ran = subprocess.run(
        [sys.executable, "-m", "sum_assets_tests.evidence.prove_gpu", "--device", "cpu", "--models", "models"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{absent}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr + (tmp_path / "out" / "prove-gpu.log").read_text()[-5000:]
    assert "this is a rehearsal on the CPU: it proves nothing about a GPU" in ran.stdout
    report = json.loads((tmp_path / "out" / "prove-gpu.json").read_text())
    assert report["rehearsal"]
    assert report["device"]["kind"] == "cpu"
    checks = {check["name"]: check for check in report["checks"]}
    assert all(check["ok"] for check in checks.values())
    assert {"family T5", "family Llama", "out of memory", "two workers on the device"} <= set(checks)
    assert "raised by the rehearsal" in checks["lost device: an illegal memory access was encountered"]["detail"]
    left_out = {left["name"]: left["reason"] for left in report["left_out"]}
    assert "a CPU tells no power" in left_out["power, utilization and memory"]
    assert "cuda_graphs: " in left_out["out of memory, CUDA graphs"]
    measured = {(rate["model"], rate["engine"]) for rate in report["rates"]}
    engines = ("sum_assets, transformers", "transformers, generate")
    assert measured >= {(model, engine) for model in ("tiny T5", "tiny Llama") for engine in engines}
    assert all(rate["abstracts_per_second"] > 0 and 0 < rate["share_of_limit"] < 1 for rate in report["rates"])
    page = (tmp_path / "out" / "prove-gpu.md").read_text()
    assert "It proves nothing about a GPU" in page
    assert page.count("| ok |") == len(checks)


def test_a_selection_says_what_it_leaves_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sum_assets_tests.evidence.prove_gpu", "--device", "cpu", "--select", "power|vllm"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    left_out = json.loads((tmp_path / "out" / "prove-gpu.json").read_text())["left_out"]
    assert [left["name"] for left in left_out[:2]] == ["power, utilization and memory", "engine vllm"]
    assert left_out[2]["name"].endswith(" more")
    assert left_out[2]["reason"] == "--select power|vllm"


def test_a_device_that_is_not_there_fails_with_what_to_do(tmp_path: Path) -> None:
    (case, result, _) = next(run([Case("device", ".device:describe", limit=100)], tmp_path, device="cuda:99"))
    assert (case.name, result.outcome) == ("device", "left out")
    assert "device cuda:99: torch sees" in result.detail


def die(_: Machine) -> Result:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hang(_: Machine) -> Result:
    time.sleep(1000)
    raise AssertionError


def fail(_: Machine) -> Result:
    raise ValueError("a fault of its own")


def work(_: Machine, value: int) -> Result:
    print("a library prints")
    return Result("ok", f"{value} from {os.getpid()}")


def run(
    cases: Sequence[Case], folder: Path, budget: float = 600.0, device: str = "cpu"
) -> Iterator[tuple[Case, Result, float]]:
    runner = Runner(Machine(device, str(folder), True), budget, folder / "log")
    try:
        yield from runner.run(cases)
    finally:
        runner.close()


def test_a_case_that_dies_hangs_or_fails_ends_alone(tmp_path: Path) -> None:
    functions = ("work", "work", "die", "work", "hang", "fail", "work")
    cases = [
        Case(f"{i} {name}", f"{MODULE}:{name}", {"value": i} if name == "work" else {}, 3 if name == "hang" else 60)
        for i, name in enumerate(functions)
    ]
    results = {case.name: result for case, result, _ in run(cases, tmp_path)}
    assert [result.outcome for result in results.values()] == ["ok", "ok", "failed", "ok", "failed", "failed", "ok"]
    first, second, after = (results[name].detail.split(" from ") for name in ("0 work", "1 work", "3 work"))
    assert [first[0], second[0], after[0]] == ["0", "1", "3"]
    assert first[1] == second[1] != after[1], "a process serves until it fails"
    assert "ended with SIGKILL" in results["2 die"].detail
    assert "no answer in 3 s" in results["4 hang"].detail
    assert results["5 fail"].detail == "ValueError: a fault of its own"


def test_what_the_budget_leaves_no_time_for_is_left_out(tmp_path: Path) -> None:
    results = [result for _, result, _ in run([Case("late", f"{MODULE}:work", {"value": 0})], tmp_path, budget=1)]
    assert results == [Result("left out", "the time budget was spent")]


@pytest.mark.parametrize("rehearsal", [True, False])
@pytest.mark.parametrize("slow", [True, False])
def test_what_is_planned_for_a_gpu_can_be_called(rehearsal: bool, slow: bool) -> None:
    cases = [*correctness(rehearsal=rehearsal), *speed(rehearsal=rehearsal, slow=slow)]
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        module, _, function = case.function.partition(":")
        call = getattr(import_module(module, PACKAGE), function)
        inspect.signature(call).bind(Machine("cuda:0", "", rehearsal), **case.arguments)
        GpuSettings.model_validate(case.arguments.get("gpu", {}))
    if not rehearsal:
        assert {case.arguments["name"] for case in cases if case.function == ".families:family"} == set(FAMILIES)
