"""What any engine must pass: a base class, of which each engine has a small subclass."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, get_args

import pytest

from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import (
    Abstract,
    EngineState,
    GpuSettings,
    Phases,
    Rejection,
    SummarizerSettings,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.engine_registry import ENGINES, EngineSpec
from sum_assets.summarizer.resolve import check_engine
from sum_assets.summarizer.types import Architecture, Device, DeviceKind, Quantization
from sum_assets_tests.evidence.prove_models.matrix import FamilyProof

Results = dict[int, Summary | Rejection]


class EngineConformance:
    """Tests of an engine by the promises of `Summarizer` and of its own `EngineSpec`.

    A subclass sets `engine`, and overrides the fixtures `settings` and `texts` where the defaults do not fit. The
    model that `settings` names writes another text for each of the `texts`, whatever it shares its batch with.
    """

    engine: ClassVar[str]
    #: Whether the output limit can end a summary early.
    limits_output: ClassVar[bool] = True
    #: Whether the versions of libraries are real, so that they can be compared with those that are installed.
    real_versions: ClassVar[bool] = True
    #: Whether the engine runs the model that `settings` names, rather than something in its place.
    runs_models: ClassVar[bool] = True
    #: Families that it is compared on with plain `generate`, of `make prove-models`, which takes all; and rules.
    families: ClassVar[tuple[str, ...]] = ("T5", "Llama")
    rules: ClassVar[tuple[str, ...]] = ("none", "no_repeat_ngram_size", "num_beams")
    #: A batch size that no fixture gives a meaning of its own.
    batch_sizes: ClassVar[tuple[int, int, int]] = (1, 5, 12)

    @pytest.fixture
    def settings(self) -> SummarizerSettings:
        """Return the model and its limits."""
        return SummarizerSettings()

    @pytest.fixture
    def texts(self) -> dict[int, str]:
        """Return twelve texts, of which the last is the longest."""
        raise NotImplementedError

    @property
    def spec(self) -> EngineSpec:
        """Return what the engine says of itself."""
        return ENGINES[self.engine]

    def gpu(self, **gpu: object) -> GpuSettings:
        """Return settings for this engine on the CPU in full precision."""
        return GpuSettings.model_validate({"engine": self.engine, "device": "cpu", "precision": "float32", **gpu})

    def run(self, settings: SummarizerSettings, texts: dict[int, str], **gpu: object) -> tuple[Results, EngineState]:
        """Summarize, and check that every abstract comes back exactly once."""
        engine = open_summarizer(resolve_settings(self.gpu(**gpu), settings))
        lists = engine.summarize([Abstract(i, text) for i, text in texts.items()], Phases())
        results = [result for finished in lists for result in finished]
        assert sorted(result.abstract_id for result in results) == sorted(texts)
        return {result.abstract_id: result for result in results}, engine.state()

    def test_every_abstract_comes_back_once_with_the_same_text_at_any_batch_size(
        self, settings: SummarizerSettings, texts: dict[int, str]
    ) -> None:
        assert len(texts) == 12
        first, *others = (self.run(settings, texts, batch_size=size)[0] for size in self.batch_sizes)
        assert all(isinstance(result, Summary) and result.text for result in first.values())
        assert len({result.text for result in first.values() if isinstance(result, Summary)}) == len(texts)
        assert others == [first, first]

    def test_texts_are_those_of_generate_row_by_row_or_the_model_is_refused(self, tmp_path: Path) -> None:
        if not self.spec.has_model or not self.runs_models:
            pytest.skip("no model writes here")
        held = set()
        for family in self.families:
            (tmp_path / family).mkdir()
            proof = FamilyProof(family, tmp_path / family)
            for rule in self.rules:
                for cell in proof.cells(rule, {self.engine: {"engine": self.engine}}, self.batch_sizes[:2]):
                    assert cell.outcome != "wrong", cell
                    if cell.outcome == "held":
                        held.add(rule)
        assert "none" in held

    def test_an_empty_window_gives_nothing(self, settings: SummarizerSettings) -> None:
        assert self.run(settings, {})[0] == {}

    def test_the_state_names_the_device_and_the_batch_size(
        self, settings: SummarizerSettings, texts: dict[int, str]
    ) -> None:
        state = self.run(settings, texts, batch_size=self.batch_sizes[-1])[1]
        assert state.device_name
        assert (state.batch_size, state.out_of_memory, state.workers) == (self.batch_sizes[-1], 0, ())

    def test_the_input_limit_cuts_and_says_so(self, settings: SummarizerSettings, texts: dict[int, str]) -> None:
        if not self.spec.has_model:
            pytest.skip("an engine without a model has no input limit")
        results = self.run(settings, texts)[0]
        longest = max(r.input_tokens for r in results.values() if isinstance(r, Summary))
        assert not any(r.input_truncated for r in results.values() if isinstance(r, Summary))
        limit = longest - 1
        cut = self.run(settings.model_copy(update={"max_input_tokens": limit}), texts)[0]
        for i, result in cut.items():
            whole = results[i]
            assert isinstance(result, Summary)
            assert isinstance(whole, Summary)
            assert result.input_truncated == (whole.input_tokens > limit)
            assert result.input_tokens == min(whole.input_tokens, limit)

    def test_the_output_limit_ends_a_summary_and_says_so(
        self, settings: SummarizerSettings, texts: dict[int, str]
    ) -> None:
        if not self.limits_output:
            pytest.skip("this engine, or what takes its place here, has no output limit")
        short = self.run(settings.model_copy(update={"max_output_tokens": 2}), texts)[0]
        for result in short.values():
            assert isinstance(result, Summary)
            assert (result.output_tokens, result.finish_reason) == (2, "length")

    def test_the_fingerprint_names_the_engine_and_its_libraries(self, settings: SummarizerSettings) -> None:
        resolved = resolve_settings(self.gpu(), settings)
        text_settings = resolved.text_settings()
        assert text_settings["engine"] == self.engine
        if self.spec.has_model:
            versions = text_settings["versions"]
            assert versions
            assert set(versions) <= {*self.spec.libraries, *self._environment_libraries()}
            if self.real_versions:
                assert versions == {library: version(library).partition("+")[0] for library in self.spec.libraries}
        other = resolve_settings(self.gpu(batch_size=self.batch_sizes[0]), settings)
        assert resolved.fingerprint == other.fingerprint

    def _environment_libraries(self) -> Sequence[str]:
        return self.spec.environment.libraries if self.spec.environment else ()

    def test_devices_and_quantizations_that_the_spec_does_not_name_are_refused(
        self, settings: SummarizerSettings
    ) -> None:
        if not self.spec.has_model:
            pytest.skip("an engine without a model uses no device")
        for kind in set(get_args(DeviceKind)) - set(self.spec.devices):
            device = Device(kind, None, "a device", None, False, None)
            with pytest.raises(UnsupportedError, match=f"engine {self.engine} serves .*, not a device. Set device"):
                check_engine(self.spec, self.gpu(), device, settings)
        for quantization in set(get_args(Quantization)) - set(self.spec.quantizations):
            with pytest.raises(UnsupportedError, match=f"quantization {quantization}: engine {self.engine} has "):
                resolve_settings(self.gpu(quantization=quantization), settings)

    def test_architectures_that_the_spec_does_not_name_are_refused(self, models: dict[Architecture, Path]) -> None:
        if not self.spec.has_model:
            pytest.skip("an engine without a model has no architecture")
        for architecture, folder in models.items():
            settings = SummarizerSettings(model=str(folder), max_input_tokens=32, max_output_tokens=8)
            if architecture in self.spec.architectures:
                resolve_settings(self.gpu(), settings)
            else:
                with pytest.raises(UnsupportedError, match=f"engine {self.engine}: .* is not a "):
                    resolve_settings(self.gpu(), settings)

    def test_settings_that_the_spec_does_not_name_are_refused(self, settings: SummarizerSettings) -> None:
        values = {"attention": "eager", "cuda_graphs": True, "batch_tokens": 100}
        for name in values.keys() - self.spec.settable:
            with pytest.raises(UnsupportedError, match=f"{name}.*: engine {self.engine} "):
                resolve_settings(self.gpu(**{name: values[name]}), settings)
        if self.spec.has_model and not any("num_beams" in rules for rules in self.spec.rules.values()):
            with pytest.raises(UnsupportedError, match=f"num_beams 2: engine {self.engine} is greedy"):
                resolve_settings(self.gpu(), settings.model_copy(update={"num_beams": 2}))
