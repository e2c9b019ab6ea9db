"""Lead-3, the usual trivial baseline: the first sentences of a text, unchanged."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.resolved_settings import LEAD_SENTENCES, LeadSettings
from sum_assets.summarizer.types import Abstract, EngineState, Rejection, Summary

# A sentence ends before blanks and a capital, a digit or a bracket, but not after an initial or "vs.", "e.g." and such.
# The mark comes first, since `re` searches for it fast; what stands before it is looked at behind it.
_END = re.compile(
    r"[.!?](?<!\b[A-Za-z].)(?<!\bvs.)(?<!\bal.)(?<!\bspp.)(?<!\.[a-z].)[.!?]*[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])"
)


class LeadEngine:
    """Copies the lead of each abstract; see `sum_assets.summarizer.types.Summarizer`. Lengths are in words."""

    def __init__(self, resolved: LeadSettings) -> None:
        self._resolved = resolved

    def prepare(self, abstracts: Sequence[Abstract]) -> None:
        """Do nothing: there is nothing to prepare."""

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        """Yield batch by batch, in the order given."""
        waiting = iter(abstracts)
        while batch := list(islice(waiting, self._resolved.batch_size)):
            with phases("generate"):
                results: list[Summary | Rejection] = [_summary(abstract) for abstract in batch]
            yield results

    def state(self) -> EngineState:
        """Return the batch size; no device memory is used."""
        return EngineState(self._resolved.device.name, self._resolved.batch_size, 0, None)


def _summary(abstract: Abstract) -> Summary:
    text = lead(abstract.text)
    read, written = len(abstract.text.split()), len(text.split())
    return Summary(abstract.abstract_id, text, read, written, input_truncated=False, finish_reason="stop")


def lead(text: str, sentences: int = LEAD_SENTENCES) -> str:
    """Return the first sentences of a text, whole."""
    ends = [match.end() for match in islice(_END.finditer(text), sentences)]
    return (text[: ends[sentences - 1]] if len(ends) == sentences else text).strip()
