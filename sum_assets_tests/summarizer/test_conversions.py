"""A conversion is made once, and what killed processes left of one is removed."""

import subprocess
import sys
from pathlib import Path

import pytest

from sum_assets.paths import models_dir
from sum_assets.summarizer.conversions import build_once

#: Begins a conversion, says so, and never ends.
_BEGIN = """
import sys, time
from pathlib import Path
from sum_assets.summarizer.conversions import build_once

def build(folder: Path) -> None:
    (folder / "half").write_text("x")
    print("begun", flush=True)
    time.sleep(600)

build_once(sys.argv[1], build)
"""


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUM_ASSETS_HOME", str(tmp_path))


def begin(name: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", _BEGIN, name], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    process.stdout.close()
    return process


def folders() -> set[str]:
    return {path.name for path in models_dir().iterdir() if path.is_dir()}


def write(folder: Path) -> None:
    (folder / "whole").write_text("x")


def test_leftovers_of_killed_conversions_are_removed_and_others_go_on() -> None:
    killed, other, alive = begin("killed"), begin("other"), begin("alive")
    for process in (killed, other):
        process.kill()
        process.wait()
    (models_dir() / ".building-x7_k2a9q").mkdir()  # named as by earlier versions
    assert len(folders()) == 4
    assert {path.name for path in build_once("killed", write).iterdir()} == {"whole"}
    assert len(folders()) == 2
    assert [path.parent.name.startswith(".building-alive.") for path in models_dir().glob("*/half")] == [True]
    alive.kill()
    alive.wait()
    build_once("killed", write)
    assert folders() == {"killed"}


def test_a_conversion_that_fails_leaves_nothing() -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once("new", fail)
    assert folders() == set()
