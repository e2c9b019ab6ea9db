"""Picks abstracts to show with what several configurations wrote about them."""

from collections.abc import Mapping
from dataclasses import dataclass

from sum_assets.database.benchmark_results import SampleSummary

#: Abstracts that are shown with all their summaries.
EXAMPLES = 3
_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Example:
    """An abstract, cut to 500 characters, with its summaries by the name of what wrote them."""

    abstract_id: int
    abstract: str
    summaries: Mapping[str, str]


def shared_examples(texts: Mapping[str, Mapping[int, SampleSummary]], reference: str) -> list[Example]:
    """Return the first abstracts that the reference and any other summarized."""
    others = [written for name, written in texts.items() if name != reference]
    shared = [i for i in texts[reference] if any(i in written for written in others)]
    examples = []
    for i in shared[:EXAMPLES]:
        abstract = texts[reference][i].abstract
        cut = abstract if len(abstract) <= _CHARACTERS else f"{abstract[:_CHARACTERS]} …"
        summaries = {name: written[i].summary for name, written in texts.items() if i in written}
        examples.append(Example(i, cut, summaries))
    return examples
