"""What all checks share: settings, what an engine writes, and how texts are compared."""

from collections.abc import Mapping, Sequence
from typing import Any

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    Summarizer,
    SummarizerSettings,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.device_errors import describe_error, is_device_lost
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import EMPTY

Variants = Mapping[str, Mapping[str, Any]]


def resolved(settings: SummarizerSettings, **gpu: Any) -> ModelSettings:
    """Return resolved settings, in float32 and without CUDA graphs where `gpu` says nothing else.

    Raises UnsupportedError where the machine cannot serve them.
    """
    chosen = resolve_settings(
        GpuSettings.model_validate({"precision": "float32", "cuda_graphs": False, **gpu}), settings
    )
    assert isinstance(chosen, ModelSettings)
    return chosen


def texts_of(engine: Summarizer, texts: Sequence[str]) -> list[str]:
    """Return what an engine writes on each text, which may be empty, or the reason of a rejection in angle brackets."""
    written: dict[int, str] = {}
    for results in engine.summarize([Abstract(i, text) for i, text in enumerate(texts)], Phases()):
        for result in results:
            assert result.abstract_id not in written, f"{result.abstract_id} came back twice"
            if isinstance(result, Summary):
                written[result.abstract_id] = result.text
            else:
                written[result.abstract_id] = "" if result.reason == EMPTY else f"<{result.reason}>"
    assert len(written) == len(texts), "not every text came back"
    return [written[i] for i in range(len(texts))]


def written_by(settings: SummarizerSettings, texts: Sequence[str], **gpu: Any) -> list[str]:
    """Return what an engine of these settings writes on each text."""
    return texts_of(open_summarizer(resolved(settings, **gpu)), texts)


def try_variants(
    settings: SummarizerSettings, texts: Sequence[str], variants: Variants, **gpu: Any
) -> tuple[dict[str, list[str]], dict[str, str], dict[str, str]]:
    """Return what each variant of the settings writes, the errors of some, and why others cannot be had here.

    Raises what loses the device: nothing more can be tried in this process.
    """
    written, errors, unsupported = {}, {}, {}
    for name, variant in variants.items():
        try:
            written[name] = written_by(settings, texts, **{**gpu, **variant})
        except UnsupportedError as error:
            unsupported[name] = str(error)
        except Exception as error:
            if is_device_lost(error):
                raise
            errors[name] = describe_error(error)
    return written, errors, unsupported


def share(texts: Sequence[str], expected: Sequence[str]) -> float:
    """Return the share of texts that are as expected."""
    return sum(text == right for text, right in zip(texts, expected, strict=True)) / len(expected)


def first_difference(texts: Sequence[str], expected: Sequence[str]) -> str:
    """Return the first pair that differs."""
    return next(f"{a!r}, not {b!r}" for a, b in zip(texts, expected, strict=True) if a != b)
