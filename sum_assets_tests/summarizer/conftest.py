"""A worker process that is quick and does not mind the model."""

import sys
from pathlib import Path

import pytest

from sum_assets.summarizer.types import Architecture
from sum_assets_tests.tiny_models import save_causal

#: A worker that writes each prompt's ids but for the first and last; what it meets decides how it ends.
_ECHO = """
import json, os, signal, sys, time
settings = json.loads(sys.stdin.readline())
if settings["batch_size"] == 7:
    print(json.dumps({"error": "seven is no batch size; set eight."}))
    sys.exit(1)
print(json.dumps({"ready": {"device_name": "abacus"}}), flush=True)
for line in sys.stdin:
    for index, ids in reversed(list(enumerate(json.loads(line)["prompts"]))):
        if settings["batch_size"] == 3 and len(ids) == 11:
            time.sleep(60)
        if settings["batch_size"] == 2 and len(ids) == 11:
            os.kill(os.getpid(), signal.SIGKILL)
        if settings["batch_size"] == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        if settings["batch_size"] == 5:
            print(json.dumps({"error": "ValueError: five"}), flush=True)
            sys.exit(1)
        print(json.dumps({"done": [[index, [*ids[1:-1], settings["stops"][0]]]]}), flush=True)
    print(json.dumps({"end": {"peak_device_bytes": 64}}), flush=True)
"""


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine openvino, with a worker that is quick and does not mind the model."""
    script = tmp_path / "echo.py"
    script.write_text(_ECHO)
    monkeypatch.setattr("sum_assets.summarizer.engine_environments.python_of", lambda *_: Path(sys.executable))
    monkeypatch.setattr(
        "sum_assets.summarizer.engines.subprocess_engine.exported", lambda resolved: resolved.files.folder
    )
    monkeypatch.setattr("sum_assets.summarizer.engines.subprocess_engine.program", lambda _: script)
    monkeypatch.setattr("sum_assets.summarizer.engine_environments.versions_of", lambda _: {"openvino-genai": "1"})


@pytest.fixture
def causal(tmp_path: Path) -> Path:
    """An untrained causal model."""
    folder = tmp_path / "causal"
    save_causal(folder)
    return folder


@pytest.fixture
def models(causal: Path, t5: Path) -> dict[Architecture, Path]:
    """A model of each architecture."""
    return {"causal": causal, "sequence-to-sequence": t5}
