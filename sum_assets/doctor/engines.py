"""Judges what each engine can do with a model on a device, by the rules that a run and a benchmark resolve by."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

from sum_assets.benchmark.cell import Outcome, classify
from sum_assets.doctor.finding import Finding, Level
from sum_assets.summarizer import GpuSettings, SummarizerSettings
from sum_assets.summarizer.engine_registry import ENGINES
from sum_assets.summarizer.model_files import ModelFiles, find_model
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.resolve import resolve
from sum_assets.summarizer.resolved_settings import ResolvedSettings, resolve_without_model
from sum_assets.summarizer.types import Device

Find = Callable[[str, str], ModelFiles]
#: The settings that are judged one at a time, each with the value that leaves the choice to us, which is judged first.
SETTINGS = {"precision": "auto", "quantization": "none", "attention": "auto"}
_SEE_MODEL = "Not known until what fails above is fixed."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an engine on a device with one setting changed, or with none (`setting` is None).

    `outcome` and `detail` are those of a benchmark. Of what is `ok`, `precision` and `attention` are the choices made;
    None where the engine has no such choice.
    """

    device: str
    engine: str
    setting: str | None
    value: str | None
    outcome: Outcome
    detail: str = ""
    precision: str | None = None
    attention: str | None = None


def find_once() -> Find:
    """Return a `find_model` that looks for a model once, and raises the same error again: hashing takes seconds."""

    @cache
    def attempt(model: str, revision: str) -> ModelFiles | Exception:
        try:
            return find_model(model, revision)
        except Exception as error:
            return error

    def find(model: str, revision: str) -> ModelFiles:
        found = attempt(model, revision)
        if isinstance(found, Exception):
            raise found
        return found

    return find


def judge_device(device: Device, settings: SummarizerSettings, find: Find) -> Iterator[Verdict]:
    """Yield the verdict on each engine with its defaults, then on each value of each setting alone."""
    for engine, spec in ENGINES.items():
        if not spec.has_model and device.kind not in spec.devices:
            continue
        yield _judge(device, settings, find, engine)
        if not spec.has_model:
            continue
        for setting, default in SETTINGS.items():
            for value in get_args(GpuSettings.model_fields[setting].annotation):
                if value != default:
                    yield _judge(device, settings, find, engine, setting, value)


def _judge(
    device: Device,
    settings: SummarizerSettings,
    find: Find,
    engine: str,
    setting: str | None = None,
    value: str | None = None,
) -> Verdict:
    gpu = GpuSettings.model_validate({"engine": engine} | ({setting: value} if setting else {}))
    try:
        resolved = _resolve(gpu, settings, find, (device,))
    except Exception as error:  # as in the process that measures a cell
        result = classify(error)
        return Verdict(device.torch_name, engine, setting, value, result.outcome, result.detail)
    precision, attention = _choices(resolved)
    return Verdict(device.torch_name, engine, setting, value, "ok", "", precision, attention)


def _resolve(
    gpu: GpuSettings, settings: SummarizerSettings, find: Find, devices: tuple[Device, ...] | None = None
) -> ResolvedSettings:
    return resolve(gpu, settings, devices, find) if ENGINES[gpu.engine].has_model else resolve_without_model(gpu)


def _choices(resolved: ResolvedSettings) -> tuple[str | None, str | None]:
    return (resolved.precision, resolved.attention) if isinstance(resolved, ModelSettings) else (None, None)


def judge_settings(gpu: GpuSettings, settings: SummarizerSettings, find: Find) -> Finding:
    """Return what becomes of a run with these settings."""
    try:
        resolved = _resolve(gpu, settings, find)
    except Exception as error:  # as in the process that measures a cell
        return Finding("model", "failure", "settings", classify(error).detail)
    says = f"engine {resolved.engine} on {resolved.device.torch_name}"
    if isinstance(resolved, ModelSettings):
        says += f", precision {resolved.precision}, quantization {resolved.quantization_in_force}"
        says += f", attention {resolved.attention}" if resolved.attention else ""
    return Finding("model", "ok", "settings", f"a run takes {says}, batch_size {resolved.batch_size}")


def group_alike(devices: Sequence[Device]) -> list[list[Device]]:
    """Return the devices in groups that get the same verdicts."""
    groups: dict[Device, list[Device]] = {}
    for device in devices:
        groups.setdefault(replace(device, index=None, uuid=None), []).append(device)
    return list(groups.values())


def summarize(verdicts: Sequence[Verdict], known: Collection[str] = ()) -> Iterator[Finding]:
    """Yield, engine by engine, what it can do, and one finding for each reason why not.

    `known` are reasons that findings on the model give already: they are not repeated for each engine.
    """
    for engine in dict.fromkeys(verdict.engine for verdict in verdicts):
        of_engine = [verdict for verdict in verdicts if verdict.engine == engine]
        if can := [verdict for verdict in of_engine if verdict.outcome == "ok"]:
            yield Finding("engines", "ok", engine, _abilities(can))
        for (outcome, says), refused in _by_reason(of_engine).items():
            level: Level = "failure" if outcome != "unsupported" and says not in known else "unsupported"
            says = _SEE_MODEL if says in known else says
            about = _listed(refused)
            if len(refused) < len(of_engine) and not says.startswith(about):
                says = f"{about}: {says}"
            yield Finding("engines", level, engine, says)


def _abilities(can: Sequence[Verdict]) -> str:
    if not ENGINES[can[0].engine].has_model:
        return "runs, without a model"
    parts = []
    default = next((verdict for verdict in can if verdict.setting is None), None)
    for setting, automatic in SETTINGS.items():
        values = [verdict.value for verdict in can if verdict.setting == setting and verdict.value]
        chosen = getattr(default, setting, None) if default else None
        if default and automatic == "none":
            values.insert(0, "none")
        if values:
            parts.append(f"{setting} {', '.join(values)}" + (f" (auto: {chosen})" if chosen else ""))
    return "\n".join(parts)


def _by_reason(verdicts: Sequence[Verdict]) -> dict[tuple[Outcome, str], list[Verdict]]:
    """Return what is refused by the reason, from which the setting and its value are taken off."""
    by_reason: dict[tuple[Outcome, str], list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.outcome != "ok":
            says = verdict.detail.removeprefix(f"{verdict.setting} {verdict.value}: ")
            by_reason.setdefault((verdict.outcome, says), []).append(verdict)
    return by_reason


def _listed(verdicts: Sequence[Verdict]) -> str:
    by_setting: dict[str, list[str]] = {}
    for verdict in verdicts:
        by_setting.setdefault(verdict.setting or "the defaults", []).append(verdict.value or "")
    return ", ".join(f"{setting} {', '.join(values)}".strip() for setting, values in by_setting.items())
