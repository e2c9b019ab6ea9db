"""The command `simulate`, with rates from the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_the_command_prints_days_and_assumptions(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "rows: 40000\nrepetitions: 3\ndevices:\n  tpu: {count: 2, abstracts_per_second: 1, assumption: a guess}\n"
    )
    code, out, err = run("simulate", path, "--plot", tmp_path / "run.png")
    assert (code, (tmp_path / "run.png").read_bytes()[:4]) == (0, b"\x89PNG"), err
    assert "40,000 abstracts: " in out
    assert "* assumed, not measured: tpu: 1 abstracts/s: a guess" in out
    read = json.loads(run("simulate", path, "--json", "--rows", 20000)[1])
    assert read["rows"] == 20000
    assert read["groups"][0]["assumed"] is True
    assert "FILE.png or FILE.svg" in run("simulate", path, "--plot", "x.gif")[2]


def test_more_devices_are_compared(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    noise = "uncertainty: 0, run_noise: 0, batch_noise: 0"
    path.write_text(
        "rows: 40000\nrepetitions: 2\nruns: {backfill: 0, submit: 0, poll: 0, start: 0, per_range: 0, finish: 0}\n"
        f"devices:\n  tpu: {{count: 3, abstracts_per_second: 1, measured: here, {noise}}}\n"
    )
    # Four ranges of 10,000 s each: three devices take as long as two, and eight as four.
    points = json.loads(run("simulate", path, "--devices", "8,1,2,3,4", "--json")[1])
    assert [point["devices"] for point in points] == [1, 2, 3, 4, 8]
    assert [point["days"]["median"] * 86400 for point in points] == pytest.approx([40000, 20000, 20000, 10000, 10000])
    assert [point["perfect_days"] * 86400 for point in points] == pytest.approx([40000, 20000, 40000 / 3, 10000, 5000])
    assert [point["idle"]["median"] for point in points] == pytest.approx([0, 0, 1 / 3, 0, 0.5])
    code, out, err = run("simulate", path, "--devices", "1,8", "--plot", tmp_path / "scaling.png")
    assert (code, (tmp_path / "scaling.png").read_bytes()[:4]) == (0, b"\x89PNG"), err
    assert [line.split() for line in out.splitlines() if line.strip()[:1] in ("1", "8")] == [
        ["1", "0.463", "0.463", "to", "0.463", "0.463", "0.0%", "0.463"],
        ["8", "0.116", "0.116", "to", "0.116", "0.0579", "50.0%", "0.926"],
    ]
    assert "'1,x' is not valid. Expected whole numbers from 1" in run("simulate", path, "--devices", "1,x")[2]
    path.write_text(path.read_text() + f"  cpu: {{count: 1, abstracts_per_second: 1, assumption: a guess, {noise}}}\n")
    assert "name one kind of tpu, cpu, as in tpu=1,2,4" in run("simulate", path, "--devices", "1,2")[2]
    points = json.loads(run("simulate", path, "--devices", "tpu=1,3", "--json")[1])
    # With the other kind's one device they are two and four.
    assert [point["days"]["median"] * 86400 for point in points] == pytest.approx([20000, 10000])
    assert [point["perfect_days"] * 86400 for point in points] == pytest.approx([20000, 10000])
