"""The quality gate: compares a preset's summaries with those of full precision on the same abstracts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel
from sacrebleu.metrics.chrf import CHRF

from sum_assets.database.benchmark_results import SampleSummary

NGRAM = 4
#: The gate compares this many words of each summary. Greedy texts that differ once stay different, so over whole
#: texts a long output limit alone would look like a loss.
OPENING = 32
#: The gate tells much only with so many abstracts: fewer, and single texts decide.
ENOUGH = 32
_WORD = re.compile(r"[a-z0-9]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the abstracts that a preset and the reference share; shares are between 0 and 1.

    Compared with the reference: `same` texts to the letter; `rouge_l`, `chrf`, and `opening_rouge_l` of the first 32
    words; `nearest`, the share whose nearest reference summary is that of the same abstract; `length_ratio` in
    words; `same_input`, the share of inputs with equally many tokens. Of the texts alone: `empty`, `capped` at the
    output limit, `repeated` and `copied` 4-grams, `new_numbers`, the share with a number that the source does
    not have. Where titles are known, `title_rouge_l` against them, its ratio to the reference's, and the upper
    end of that ratio's one-sided 95 % interval.
    """

    abstracts: int
    same: float
    rouge_l: float
    opening_rouge_l: float
    chrf: float
    nearest: float
    length_ratio: float
    same_input: float
    empty: float
    capped: float
    repeated: float
    copied: float
    new_numbers: float
    title_rouge_l: float | None
    title_ratio: float | None
    title_ratio_high: float | None

    def as_json(self) -> dict[str, float | None]:
        """Return plain numbers."""
        return asdict(self)


def compare(candidate: Mapping[int, SampleSummary], reference: Mapping[int, SampleSummary]) -> Quality | None:
    """Return a candidate's quality on the abstracts that both have; None if they share none.

    A reference compared with itself gives its own figures.
    """
    ids = sorted(candidate.keys() & reference.keys())
    if not ids:
        return None
    candidates, references = [candidate[i] for i in ids], [reference[i] for i in ids]
    words, other_words = [_words(s.summary) for s in candidates], [_words(s.summary) for s in references]
    likeness = process.cdist(words, other_words, scorer=Indel.normalized_similarity, workers=1)
    chrf = CHRF()
    pairs = list(zip(candidates, references, strict=True))
    titled = [(w, o, _words(s.title)) for w, o, s in zip(words, other_words, candidates, strict=True) if s.title]
    title, title_ratio, title_ratio_high = _against_titles(titled) if titled else (None, None, None)
    return Quality(
        abstracts=len(ids),
        same=_mean([a.summary == b.summary for a, b in pairs]),
        rouge_l=_mean(likeness.diagonal().tolist()),
        opening_rouge_l=_mean([rouge_l(a[:OPENING], b[:OPENING]) for a, b in zip(words, other_words, strict=True)]),
        chrf=_mean([chrf.sentence_score(a.summary, [b.summary]).score / 100 for a, b in pairs]),
        nearest=_mean((likeness.diagonal() >= likeness.max(axis=1)).tolist()),
        length_ratio=sum(map(len, words)) / max(sum(map(len, other_words)), 1),
        same_input=_mean([not a.summary or a.input_tokens == b.input_tokens for a, b in pairs]),
        empty=_mean([not s.summary for s in candidates]),
        capped=_mean([s.capped for s in candidates]),
        repeated=_mean([_repeated(w) for w in words]),
        copied=_mean([_copied(w, _words(s.abstract)) for w, s in zip(words, candidates, strict=True)]),
        new_numbers=_mean([bool(_numbers(s.summary) - _numbers(s.abstract)) for s in candidates]),
        title_rouge_l=title,
        title_ratio=title_ratio,
        title_ratio_high=title_ratio_high,
    )


def rouge_l(words: Sequence[str], reference: Sequence[str]) -> float:
    """Return the F1 of the longest common subsequence of words (Lin, ROUGE, 2004, section 3).

    Twice its length over both lengths: that is rapidfuzz's normalized similarity of insertions and deletions.
    """
    return Indel.normalized_similarity(words, reference) if words or reference else 1.0


def _against_titles(titled: Sequence[tuple[list[str], list[str], list[str]]]) -> tuple[float, float, float]:
    """Return mean ROUGE-L against titles, its ratio to the reference's, and the ratio's upper 95 % bound.

    The bound is that of a ratio of paired means (Cochran, Sampling Techniques, 1977, section 6.4).
    """
    scores = np.array([rouge_l(words, title) for words, _, title in titled])
    reference = np.array([rouge_l(words, title) for _, words, title in titled])
    if not reference.any():
        return float(scores.mean()), 1.0, 1.0
    ratio = scores.mean() / reference.mean()
    if len(titled) < 2:
        return float(scores.mean()), float(ratio), np.inf
    error = (scores - ratio * reference).std(ddof=1) / np.sqrt(len(titled)) / reference.mean()
    return float(scores.mean()), float(ratio), float(ratio + 1.645 * error)


def _words(text: str) -> list[str]:
    """Split as the package rouge-score does, without its stemmer: runs of lower-case letters and digits."""
    return _WORD.findall(text.lower())


def _ngrams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(NGRAM)), strict=False))


def _repeated(words: Sequence[str]) -> float:
    ngrams = _ngrams(words)
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _copied(words: Sequence[str], source: Sequence[str]) -> float:
    ngrams, known = _ngrams(words), set(_ngrams(source))
    return sum(n in known for n in ngrams) / len(ngrams) if ngrams else 0.0


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


@dataclass(frozen=True, slots=True)
class Gate:
    """A verdict: whether a preset's summaries are as good as those of full precision, and if not, why."""

    passes: bool
    reason: str

    def __str__(self) -> str:
        return "passes" if self.passes else f"fails: {self.reason}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the gate asks for. `words` is a ratio; `empty`, `repeated` and `new_numbers` are above the reference's."""

    nearest: float = 0.9
    words: tuple[float, float] = (0.8, 1.25)
    empty: float = 0.02
    repeated: float = 0.1
    new_numbers: float = 0.2
    titles: bool = True


#: For samples of about eight abstracts, where one that takes another turn moves each mean by an eighth.
FEW = Bounds(nearest=0.75, words=(0.67, 1.5), empty=0.13, repeated=0.25, new_numbers=0.4, titles=False)


def gate(quality: Quality, reference: Quality, bounds: Bounds = Bounds()) -> Gate:
    """Compare a preset's quality with the reference's own; see docs/evidence/quality-gate.md."""
    shortest, longest = bounds.words
    failures = [
        (
            quality.same_input < 0.98,
            f"{1 - quality.same_input:.0%} of the inputs differ in length from the reference's",
        ),
        (
            quality.nearest < bounds.nearest,
            f"{1 - quality.nearest:.0%} of the summaries are closer to those of other abstracts",
        ),
        (
            quality.opening_rouge_l < 0.65,
            f"writes other texts: ROUGE-L {quality.opening_rouge_l:.2f} in the first {OPENING} words, at least 0.65",
        ),
        (
            not shortest <= quality.length_ratio <= longest,
            f"{quality.length_ratio:.2f} times the reference's words, {shortest} to {longest}",
        ),
        (quality.empty > reference.empty + bounds.empty, f"{quality.empty:.0%} empty, reference {reference.empty:.0%}"),
        (
            quality.repeated > reference.repeated + bounds.repeated,
            f"{quality.repeated:.0%} of 4-grams repeated, reference {reference.repeated:.0%}",
        ),
        (
            quality.new_numbers > reference.new_numbers + bounds.new_numbers,
            f"{quality.new_numbers:.0%} with numbers that the source lacks, reference {reference.new_numbers:.0%}",
        ),
        (
            bounds.titles and quality.title_ratio_high is not None and quality.title_ratio_high < 0.99,
            f"ROUGE-L against titles {quality.title_ratio or 0:.0%} of the reference's, surely below 99 %",
        ),
    ]
    reasons = [reason for failed, reason in failures if failed]
    return Gate(not reasons, "; ".join(reasons))
