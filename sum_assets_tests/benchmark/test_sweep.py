"""Sweep files: those shipped, and the errors for wrong ones."""

from pathlib import Path

import pytest

from sum_assets.benchmark.sweep import BASELINE, REFERENCE, read_summarizer, read_sweep
from sum_assets.errors import UnsupportedError, UserError
from sum_assets.paths import project_file
from sum_assets.summarizer import SummarizerSettings
from sum_assets.summarizer.resolve import resolve
from sum_assets.summarizer.types import Device


@pytest.mark.parametrize("path", sorted(project_file("sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweeps_are_sound(path: Path) -> None:
    presets = read_sweep(path).all_presets()
    assert presets[BASELINE].naive
    assert len(presets) >= 5


def gpu(name: str, major: int, minor: int) -> Device:
    return Device("cuda", 0, name, (major, minor), (major, minor) >= (8, 0), 80 * 2**30)


@pytest.mark.parametrize(
    ("sweep", "device", "refused"),
    [
        ("gpu", gpu("A100", 8, 0), {"flash-256"}),
        ("gpu", gpu("H100", 9, 0), {"flash-256"}),
        ("v100-t4", gpu("V100", 7, 0), {"int8-64"}),
        ("v100-t4", gpu("T4", 7, 5), set()),
        ("k80", gpu("K80", 3, 7), set()),
    ],
)
def test_sweeps_for_gpus_ask_for_what_these_have(sweep: str, device: Device, refused: set[str], t5: Path) -> None:
    settings = SummarizerSettings(model=str(t5), max_input_tokens=64, max_output_tokens=16)
    presets = read_sweep(project_file(f"sweeps/{sweep}.yaml")).all_presets()
    assert all(preset.device.startswith("cuda") for preset in presets.values())
    unsupported = set()
    for name, preset in presets.items():
        if preset.engine == "transformers":
            try:
                resolve(preset, settings, (device,))
            except UnsupportedError:
                unsupported.add(name)
    assert unsupported == refused


def test_a_grid_is_every_combination_but_the_excluded(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "grid:\n"
        "  axes: {precision: [float32, bfloat16], batch_size: [1, 8]}\n"
        "  exclude: [{precision: float32, batch_size: 8}]\n"
        "  include: [{quantization: int8, threads_per_worker: 1}]\n"
    )
    assert list(read_sweep(path).all_presets()) == [
        BASELINE,
        REFERENCE,
        "float32-1",
        "bfloat16-1",
        "bfloat16-8",
        "int8-1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sample: 4\npresets:\n  a: {}\n  b:\n    batch_size: 0\n",
            "line 5: presets.b.batch_size: .*at least 1, not 0",
        ),
        ("sample: 4\nreplicats: 3\n", "line 2: replicats: Extra inputs are not permitted"),
        ("sample: none\n", "line 1: sample: .*valid integer"),
        ("presets:\n  a:\n    precision: fp8\n", "line 3: presets.a.precision"),
        ("\ngrid:\n  axes:\n    color: [red]\n", "line 3: grid.axes: .*no axis color"),
        ("\ngrid:\n  axes: {device: [gpu]}\n", "line 2: grid: .*device is auto, cpu"),
        ("presets:\n  a: {naive: true}\n", "line 1: presets: .*set naive for the preset baseline"),
        ("presets:\n  reference: {precision: bfloat16}\n", "line 1: presets: .*reference is full precision"),
        ("\nprice_per_hour: -0.5\n", "line 2: price_per_hour: .*greater than or equal to 0"),
        ("price_per_hour: .inf\n", "line 1: price_per_hour: .*finite number"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_sweep(path)


def test_the_model_is_configured_as_in_a_run(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("resources: {summarizer: {config: {model: other, num_beams: 2}}}")
    settings = read_summarizer(path, SummarizerSettings(max_output_tokens=96, num_beams=3))
    assert settings == SummarizerSettings(model="other", max_output_tokens=96, num_beams=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: other\n", "resources: Field required"),
        ("resources: {gpu: {config: {batch_size: 8}}}\n", "resources.summarizer: Field required"),
        ("resources:\n  summarizer:\n    config: {modell: other}\n", "line 3: .*config.modell: Extra inputs"),
        ("resources:\n  summarizer:\n    config: {max_output_tokens: -5}\n", "line 3: .*at least 1, not -5"),
        ("resources: {summarizer: {config: {}}, gpu: {config: {}}}\n", "resources.gpu: Extra inputs are not permitted"),
        ("resources: {summarizer: {config: {}}}\nops: {}\n", "line 2: ops: Extra inputs are not permitted"),
        ("", "resources: Field required"),
    ],
)
def test_what_a_sweep_does_not_take_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        read_summarizer(path, SummarizerSettings())
    assert "`resources: {summarizer: {config: {model: ...}}}`" in str(refused.value)
