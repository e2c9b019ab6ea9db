"""Verdicts on engines, for hardware that is not here, and those of a run on the hardware that is."""

from pathlib import Path

import pytest

from sum_assets.benchmark.cell import classify
from sum_assets.doctor.engines import Verdict, find_once, group_alike, judge_device, judge_settings, summarize
from sum_assets.summarizer import GpuSettings, SummarizerSettings, resolve_settings
from sum_assets.summarizer.devices import find_device
from sum_assets.summarizer.types import Device
from sum_assets_tests.tiny_models import save_causal


def gpu(name: str, major: int, minor: int, index: int = 0) -> Device:
    return Device("cuda", index, name, (major, minor), (major, minor) >= (8, 0), 12 * 2**30, f"uuid-{index}")


OLD_CPU = Device("cpu", None, "CPU", None, False, None)
NEW_CPU = Device("cpu", None, "CPU", None, True, None)
ALL = "int8 nf4 fp4 torchao_int8"


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "causal"
    save_causal(folder)
    return folder


def settings_of(folder: Path) -> SummarizerSettings:
    return SummarizerSettings(model=str(folder), max_input_tokens=64, max_output_tokens=16)


def works(verdicts: list[Verdict], engine: str, setting: str) -> str:
    return " ".join(v.value or "" for v in verdicts if (v.engine, v.setting, v.outcome) == (engine, setting, "ok"))


@pytest.mark.parametrize(
    ("device", "precisions", "for_t5", "for_llama", "quantizations"),
    [
        (gpu("Tesla K80", 3, 7), "float32", "float32", "float32", ""),
        (gpu("Tesla P100", 6, 0), "float32 float16", "float32", "float16", "nf4 fp4"),
        (gpu("Tesla V100", 7, 0), "float32 float16", "float32", "float16", "nf4 fp4"),
        (gpu("Tesla T4", 7, 5), "float32 float16", "float32", "float16", "int8 nf4 fp4"),
        (gpu("A100", 8, 0), "float32 bfloat16 float16", "bfloat16", "bfloat16", ALL),
        (gpu("H100", 9, 0), "float32 bfloat16 float16", "bfloat16", "bfloat16", ALL),
        (OLD_CPU, "float32", "float32", "float32", ALL),
        (NEW_CPU, "float32 bfloat16", "bfloat16", "bfloat16", ALL),
    ],
    ids=lambda value: value.name if isinstance(value, Device) else "",
)
def test_what_transformers_can_do(
    device: Device, precisions: str, for_t5: str, for_llama: str, quantizations: str, t5: Path, causal: Path
) -> None:
    for folder, automatic in ((t5, for_t5), (causal, for_llama)):
        verdicts = list(judge_device(device, settings_of(folder), find_once()))
        assert works(verdicts, "transformers", "precision") == precisions
        assert works(verdicts, "transformers", "quantization") == quantizations
        assert works(verdicts, "transformers", "attention") == "eager sdpa"
        assert (verdicts[0].setting, verdicts[0].precision, verdicts[0].attention) == (None, automatic, "sdpa")
        flash = next(v.detail for v in verdicts if v.value == "flash_attention_2")
        newer = device.capability is not None and device.capability >= (8, 0)
        why = "this model has none" if folder == t5 else "flash-attn is not" if newer else "compute capability 8.0"
        assert why in flash
        assert {v.outcome for v in verdicts} == {"ok", "unsupported"}


def test_the_screen_gives_each_reason_once(t5: Path) -> None:
    k80 = gpu("Tesla K80", 3, 7)
    verdicts = list(judge_device(k80, settings_of(t5), find_once()))
    findings = [(f.level, f.message) for f in summarize(verdicts) if f.subject == "transformers"]
    assert findings[0] == (
        "ok",
        "precision float32 (auto: float32)\nquantization none\nattention eager, sdpa (auto: sdpa)",
    )
    assert (
        "unsupported",
        "quantization nf4, fp4: bitsandbytes needs compute capability 6.0, Tesla K80 has 3.7. Set none.",
    ) in findings
    by_engine = {f.subject: f for f in summarize(verdicts)}
    assert by_engine["openvino"].message == "engine openvino serves cpu, not Tesla K80. Set device: cpu."
    assert "lead" not in by_engine, "it runs on the CPU"


def test_they_are_the_verdicts_of_a_run(t5: Path, causal: Path) -> None:
    """With nothing passed in: the device is found, and the files are read anew."""
    for folder in (t5, causal):
        settings = settings_of(folder)
        verdicts = list(judge_device(find_device("cpu"), settings, find_once()))
        assert len(verdicts) > 40
        for verdict in verdicts:
            changed = {verdict.setting: verdict.value} if verdict.setting else {}
            gpu_settings = GpuSettings.model_validate({"engine": verdict.engine, "device": "cpu", **changed})
            outcome, detail = "ok", ""
            try:
                resolve_settings(gpu_settings, settings)
            except Exception as error:
                outcome, detail = classify(error).outcome, classify(error).detail
            assert (verdict.outcome, verdict.detail) == (outcome, detail)


def test_without_a_model_it_says_what_does_not_depend_on_it(tmp_path: Path) -> None:
    settings, find = settings_of(tmp_path / "none"), find_once()
    judged = judge_settings(GpuSettings(), settings, find)
    assert (judged.level, judged.message) == ("failure", f"model: there is no folder {tmp_path / 'none'}.")
    verdicts = list(judge_device(gpu("Tesla K80", 3, 7), settings, find))
    findings = [(f.subject, f.level, f.message) for f in summarize(verdicts, {judged.message})]
    unknown = "Not known until what fails above is fixed."
    assert (
        "transformers",
        "unsupported",
        f"the defaults, precision float32, bfloat16, float16, attention eager, sdpa, flash_attention_2: {unknown}",
    ) in findings
    assert any("bitsandbytes needs compute capability 7.5" in message for _, _, message in findings)
    assert "failure" not in {level for _, level, _ in findings}, "the model's part says it"


def test_the_settings_of_a_run(t5: Path) -> None:
    settings = settings_of(t5)
    judged = judge_settings(GpuSettings(device="cpu", precision="float32", batch_size=4), settings, find_once())
    assert judged.level == "ok"
    assert "transformers on cpu, precision float32, quantization none, attention sdpa, batch_size 4" in judged.message
    judged = judge_settings(GpuSettings(device="cpu", precision="float16"), settings, find_once())
    assert (judged.level, judged.message) == (
        "failure",
        "precision float16: a CPU gains nothing from it. Set float32 or auto.",
    )
    judged = judge_settings(GpuSettings(device="cuda:9"), settings, find_once())
    assert (judged.level, "device cuda:9: torch sees" in judged.message) == ("failure", True)


def test_devices_that_are_equal_are_judged_once() -> None:
    chips = [gpu("Tesla K80", 3, 7, index) for index in range(4)]
    assert group_alike([*chips, OLD_CPU]) == [chips, [OLD_CPU]]
