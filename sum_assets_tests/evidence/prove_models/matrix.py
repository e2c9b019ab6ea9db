"""The matrix: families by engines by rules by batch sizes, each cell compared with plain `generate`, row by row."""

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import transformers
from transformers import AutoTokenizer

from sum_assets.errors import UserError
from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    SummarizerSettings,
    Summary,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.device_errors import describe_error
from sum_assets.summarizer.devices import find_device
from sum_assets.summarizer.engine_registry import ENGINES
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.plain_generate import plain_generate
from sum_assets.summarizer.resolve import check_engine
from sum_assets_tests.evidence.prove_models.families import (
    FAMILIES,
    MAX_INPUT_TOKENS,
    MAX_OUTPUT_TOKENS,
    TEXTS,
    save_family,
    set_rules,
    word_ids,
)
from sum_assets_tests.evidence.prove_models.rules import all_rules

BATCH_SIZES = (1, 5, 12)
#: Settings of engines by the name of the engine; one that is left to `generate` in batches is proved, too.
Engines = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """How many of the rows were equal to plain `generate`, and what to make of that.

    `detail` is the sentence of a refusal, or the first difference.
    """

    family: str
    engine: str
    rule: str
    batch_size: int
    rows: int
    equal: int
    outcome: Literal["held", "refused", "wrong"]
    detail: str

    def as_json(self) -> dict[str, Any]:
        """Return it without the detail."""
        return {name: value for name, value in asdict(self).items() if name != "detail"}


def installed_engines() -> Engines:
    """Return all engines with a model that are installed here."""
    engines: dict[str, dict[str, Any]] = {}
    for name, spec in ENGINES.items():
        try:
            check_engine(spec, GpuSettings(engine=name), find_device("cpu"), SummarizerSettings())
        except UserError:
            continue
        if spec.has_model:
            engines[name] = {"engine": name}
            if "attention" in spec.settable:
                engines[f"{name}, eager"] = {"engine": name, "attention": "eager"}
    return engines


class FamilyProof:
    """Proves engines on one family. Its models are saved in `folder`, which is empty before.

    Raises AssertionError if the family's texts are alike, since they would prove nothing.
    """

    def __init__(self, family: str, folder: Path) -> None:
        self.family, self._folder = family, folder
        save_family(family, folder / "none")
        words = word_ids(AutoTokenizer.from_pretrained(folder / "none"))
        self.rules = all_rules(words, seq2seq=FAMILIES[family].seq2seq, byte_level=FAMILIES[family].byte_level)
        self._written: dict[str, list[str] | str] = {}
        texts = self.expected("none")
        assert isinstance(texts, list), f"{family}: {texts}"
        assert len(set(texts)) >= 9, f"{family} writes the same for many texts; choose another seed: {texts}"

    def cells(self, rule: str, engines: Engines, batch_sizes: Sequence[int] = BATCH_SIZES) -> Iterator[Cell]:
        """Yield what became of a rule on each engine and at each batch size."""
        expected = self.expected(rule)
        for engine, gpu in engines.items():
            for batch_size in batch_sizes:
                yield self._cell(rule, engine, gpu | {"batch_size": batch_size}, expected)

    def expected(self, rule: str) -> list[str] | str:
        """Return what plain `generate` writes on each text, or the error that it raises."""
        if rule not in self._written:
            own = self._settings(rule)
            resolved = resolve_settings(_gpu({}), self._settings("none"))
            assert isinstance(resolved, ModelSettings)
            # Settings of a model that engines refuse may be fine for `generate`.
            files = replace(resolved.files, folder=Path(own.model))
            try:
                written = plain_generate(replace(resolved, settings=own, files=files), list(TEXTS.values()))
                self._written[rule] = [summary.text for summary in written]
            except Exception as error:
                self._written[rule] = describe_error(error)
        return self._written[rule]

    def _settings(self, rule: str) -> SummarizerSettings:
        folder = self._folder / rule
        if not folder.exists():
            shutil.copytree(self._folder / "none", folder)
            set_rules(folder, self.rules[rule].own)
        return SummarizerSettings(
            model=str(folder),
            prompt="",
            max_input_tokens=MAX_INPUT_TOKENS,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            num_beams=self.rules[rule].num_beams,
        )

    def _cell(self, rule: str, engine: str, gpu: dict[str, Any], expected: list[str] | str) -> Cell:
        def cell(outcome: Literal["held", "refused", "wrong"], equal: int = 0, detail: str = "") -> Cell:
            return Cell(self.family, engine, rule, gpu["batch_size"], len(TEXTS), equal, outcome, detail)

        try:
            texts = written_by(_gpu(gpu), self._settings(rule))
        except UserError as error:
            return cell("refused", detail=str(error))
        except Exception as error:
            return cell("wrong", detail=describe_error(error))
        if isinstance(expected, str):
            return cell("wrong", detail=f"it writes where plain generate raises {expected}")
        different = [i for i, text in zip(TEXTS, expected, strict=True) if texts[i] != text]
        if not different:
            return cell("held", len(TEXTS))
        first = different[0]
        return cell("wrong", len(TEXTS) - len(different), f"{first}: {texts[first]!r}, not {expected[first]!r}")


def _gpu(settings: dict[str, Any]) -> GpuSettings:
    return GpuSettings.model_validate({"device": "cpu", "precision": "float32", **settings})


def written_by(gpu: GpuSettings, settings: SummarizerSettings) -> dict[int, str]:
    """Return what an engine writes on each text; it is empty where it wrote nothing."""
    engine = open_summarizer(resolve_settings(gpu, settings))
    texts: dict[int, str] = {}
    for results in engine.summarize([Abstract(i, text) for i, text in TEXTS.items()], Phases()):
        for result in results:
            assert result.abstract_id not in texts, f"{result.abstract_id} came back twice"
            if isinstance(result, Summary):
                texts[result.abstract_id] = result.text
            else:
                texts[result.abstract_id] = "" if result.reason == "empty_summary" else f"{result.reason}"
    assert sorted(texts) == sorted(TEXTS), "not every text came back"
    return texts


def prove_family(family: str) -> list[Cell]:
    """Return all cells of a family, on all engines, in a process of its own."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    engines = installed_engines()
    with TemporaryDirectory(prefix="sum_assets_") as folder:
        os.environ["SUM_ASSETS_HOME"] = f"{folder}/home"  # conversions of tiny models are for nobody's home
        proof = FamilyProof(family, Path(folder))
        return [cell for rule in proof.rules for cell in proof.cells(rule, engines)]
