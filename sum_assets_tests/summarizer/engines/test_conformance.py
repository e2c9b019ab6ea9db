"""Every engine against the same promises."""

from pathlib import Path
from typing import ClassVar

import pytest

from sum_assets.summarizer import SummarizerSettings
from sum_assets_tests.summarizer.engines.conformance import EngineConformance
from sum_assets_tests.tiny_models import sentence

#: Twelve texts for the tiny models; the last is the longest.
TEXTS = {i: sentence(10**6 + i, 5 + i) for i in range(12)}


class CopierConformance(EngineConformance):
    """An engine on a model that copies the first words of its input."""

    @pytest.fixture
    def settings(self, t5: Path) -> SummarizerSettings:
        return SummarizerSettings(model=str(t5), prompt="", max_input_tokens=32, max_output_tokens=16)

    @pytest.fixture
    def texts(self) -> dict[int, str]:
        return TEXTS


class TestTransformersSequenceToSequence(CopierConformance):
    """Models that encode their input."""

    engine = "transformers"
    families = ("T5", "BART", "LED")
    rules = ("none", "repetition_penalty", "min_length", "num_beams")


class TestTransformersCausal(EngineConformance):
    """Models that go on from their prompt."""

    engine = "transformers"
    families = ("Llama", "Gemma 3", "Mamba")
    rules = ("none", "repetition_penalty", "min_length", "num_beams")

    @pytest.fixture
    def settings(self, causal: Path) -> SummarizerSettings:
        return SummarizerSettings(model=str(causal), prompt="", max_input_tokens=32, max_output_tokens=12)

    @pytest.fixture
    def texts(self) -> dict[int, str]:
        return TEXTS


class TestCTranslate2(CopierConformance):
    """A model converted to CTranslate2's format."""

    engine = "ctranslate2"
    families = ("T5",)


@pytest.mark.usefixtures("echo")
class TestSubprocess(CopierConformance):
    """The worker process and its protocol: OpenVINO, with a worker that ignores the model and its limits."""

    engine = "openvino"
    limits_output = False
    real_versions = False
    runs_models = False
    batch_sizes: ClassVar[tuple[int, int, int]] = (1, 4, 12)  # at 5 the worker fails on purpose


class TestLead(EngineConformance):
    """The engine without a model."""

    engine = "lead"
    limits_output = False

    @pytest.fixture
    def texts(self) -> dict[int, str]:
        return {i: f"A{i} grew. It ended. Nobody knew. So it stayed." for i in range(12)}
