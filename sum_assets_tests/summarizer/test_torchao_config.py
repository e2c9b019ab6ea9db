"""torchao is asked for its quantization, and says nothing that a user could not change."""

import subprocess
import sys

import pytest


def test_torchao_is_loaded_in_silence() -> None:
    pytest.importorskip("torchao")
    code = "from sum_assets.summarizer.torchao_config import torchao_int8; print(type(torchao_int8()).__name__)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("TorchAoConfig\n", "")
