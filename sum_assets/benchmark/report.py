"""The benchmark report: all presets of a sweep, the fastest first, and the one to use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sum_assets.benchmark.confidence_interval import Estimate, paired_ratio
from sum_assets.benchmark.corpus_lengths import Corpus
from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.sweep import REFERENCE
from sum_assets.database.benchmark_results import SampleSummary
from sum_assets.errors import UserError


@dataclass(frozen=True)
class BenchmarkReport:
    """All presets, the fastest first and those without a rate last, and what they were measured on.

    `paces` has what ranks each preset, by replicate: abstracts per second, or where the presets were not measured in
    turn, the speed-up over the baseline measured beside it. `facts` are what a reader needs to judge the numbers, by
    name, and `warning` is what spoils them. `summarizer` are the settings of the model. `texts` are the summaries that
    each preset wrote of the sample, by preset and ID.
    """

    presets: list[PresetResult]
    corpus: Corpus
    paces: dict[str, dict[int, float]]
    facts: dict[str, str]
    summarizer: dict[str, Any]
    warning: str
    texts: Mapping[str, Mapping[int, SampleSummary]]

    @cached_property
    def winner(self) -> PresetResult | None:
        """The fastest preset that passes the gate."""
        return next((p for p in self.presets if p.recommendable), None)

    @cached_property
    def ties(self) -> list[str]:
        """The presets that pass the gate and that may be as fast as the winner: their ratio's interval covers 1."""
        ratios = {p.preset: self.speed_beside_winner(p) for p in self.presets if p.recommendable}
        return [name for name, ratio in ratios.items() if ratio and ratio.low > 0 and ratio.undecided]

    def speed_beside_winner(self, preset: PresetResult) -> Estimate | None:
        """Return the ratio of its speed to the winner's; None for the winner itself, and where nothing compares them.

        Of a single replicate, the interval has no ends.
        """
        if self.winner is None or preset is self.winner:
            return None
        own, best = self.paces.get(preset.preset, {}), self.paces[self.winner.preset]
        both = sorted(best.keys() & own.keys())
        return paired_ratio([own[r] for r in both], [best[r] for r in both]) if both else None

    @property
    def sentence(self) -> str:
        """The recommendation in one sentence, and which presets it is not told apart from."""
        if self.winner is None:
            reference = next((p for p in self.presets if p.preset == REFERENCE), None)
            if reference is None or reference.rate is None:
                reason = reference.detail if reference else "not measured"
                return f"No preset can be recommended without {REFERENCE}, full precision, to judge by: {reason}."
            return "No preset works and passes the gate."
        ties = f" Not told apart from it: {', '.join(self.ties)}." if self.ties else ""
        return f"{self.winner.sentence()}.{ties}"

    def only(self, names: Sequence[str]) -> "BenchmarkReport":
        """Return the report of some presets. Raises UserError where one was not measured."""
        unknown = set(names) - {p.preset for p in self.presets}
        if unknown:
            measured = ", ".join(p.preset for p in self.presets)
            raise UserError(f"{', '.join(sorted(unknown))} is not measured. Measured presets: {measured}.")
        return replace(self, presets=[p for p in self.presets if p.preset in names])

    def differences(self) -> dict[str, list[Any]]:
        """Return the settings in which the presets differ, each with its value in every preset."""
        keys = dict.fromkeys(key for p in self.presets for key in p.settings)
        values = {key: [p.settings.get(key) for p in self.presets] for key in keys}
        return {key: column for key, column in values.items() if any(value != column[0] for value in column)}

    def run_configuration(self) -> dict[str, Any]:
        """Return the run configuration of `summaries` for the winner, with the model that was measured."""
        if self.winner is None:
            return {}
        settings = {"gpu": self.winner.gpu_configuration(), "summarizer": self.summarizer}
        return {"resources": {name: {"config": config} for name, config in settings.items()}}
