"""Compares what runs made of the same abstracts under different fingerprints: speed, texts, and what was set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from sum_assets.benchmark.quality_gate import Quality, compare
from sum_assets.benchmark.section import Section
from sum_assets.benchmark.text_examples import shared_examples
from sum_assets.database.benchmark_results import SampleSummary
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID, IdRange
from sum_assets.units import counted

#: Pairs of summaries that are compared, at most.
PAIRS = 500
EXAMPLES_TITLE = "Examples"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What runs made under one fingerprint.

    `output_tokens` is a mean, `capped` the share that ended at the output limit. `worked_rows` and `worked_seconds` are
    those of the runs that ended, None where none did.
    """

    fingerprint: str
    settings: Mapping[str, Any]
    summarized: int
    rejected: int
    published: int
    output_tokens: float | None
    capped: float | None
    worked_rows: int | None
    worked_seconds: float | None

    @property
    def per_second(self) -> float | None:
        """Abstracts per second of its runs, from the lease of a range to its last commit, without loading."""
        return self.worked_rows / self.worked_seconds if self.worked_rows and self.worked_seconds else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Configurations beside a reference, by fingerprint; `texts` are the summaries of each that were compared.

    `quality` is None for the reference, and for one that shares no abstract with it.
    """

    configurations: Sequence[Configuration]
    reference: str
    quality: Mapping[str, Quality | None]
    texts: Mapping[str, Mapping[int, SampleSummary]]

    def sections(self) -> list[Section]:
        """Return its tables: results, what differs, and examples."""
        return [table for table in (self._results(), self._differences(), self._examples()) if table.rows]

    def _results(self) -> Section:
        columns = [self._figures(c) for c in self.configurations]
        rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
        note = (
            "Abstracts/s: of its runs here that ended, pilots too, without loading the model. Capped: ended by the "
            f"output limit. Compared: with the reference, {_short(self.reference)}, on abstracts that both have, "
            f"{PAIRS} at most. Same: equal texts. ROUGE-L: of words, 1 for equal ones."
        )
        return Section("Configurations", ["fingerprint", *self._headings()], rows, note)

    def _headings(self) -> list[str]:
        return [_short(c.fingerprint) for c in self.configurations]

    def _figures(self, c: Configuration) -> dict[str, str]:
        quality = None if c.fingerprint == self.reference else self.quality[c.fingerprint]
        return {
            "abstracts/s": f"{c.per_second:,.2f}" if c.per_second else "",
            "compared": f"{quality.abstracts:,}" if quality else "",
            "same": f"{quality.same:.0%}" if quality else "",
            "ROUGE-L": f"{quality.rouge_l:.2f}" if quality else "",
            "summarized": f"{c.summarized:,}",
            "rejected": f"{c.rejected:,}",
            "published": f"{c.published:,}",
            "tokens out": "" if c.output_tokens is None else f"{c.output_tokens:,.0f}",
            "capped": "" if c.capped is None else f"{c.capped:.0%}",
        }

    def _differences(self) -> Section:
        names = sorted({name for c in self.configurations for name in c.settings})
        rows = []
        for name in names:
            values = [c.settings.get(name) for c in self.configurations]
            if any(value != values[0] for value in values):
                rows.append([name, *("" if value is None else str(value) for value in values)])
        return Section("What differs", ["setting", *self._headings()], rows)

    def _examples(self) -> Section:
        rows = []
        for example in shared_examples(self.texts, self.reference):
            rows.append([str(example.abstract_id), "abstract", example.abstract])
            written = [c.fingerprint for c in self.configurations if c.fingerprint in example.summaries]
            rows += [["", _short(fingerprint), example.summaries[fingerprint]] for fingerprint in written]
        return Section(EXAMPLES_TITLE, ["ID", "of", "text"], rows)


def _short(fingerprint: str) -> str:
    """Return its beginning, which commands take as well."""
    return fingerprint[:8]


def compare_fingerprints(
    connection: Connection, id_range: IdRange | None, fingerprints: Sequence[str] = (), reference: str | None = None
) -> Comparison:
    """Compare what fingerprints, or all, have made in a range, or in the whole corpus.

    A fingerprint may be given by its beginning. The reference is the one that has most published, else the oldest.
    Raises UserError where there are fewer than two.
    """
    where = id_range or IdRange(1, LARGEST_ID)
    with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"lo": where.lo, "hi": where.hi}
        rows = cursor.execute(statement("comparison_configurations"), parameters).fetchall()
    found = [Configuration(**row) for row in rows]
    named = [_named(found, name) for name in fingerprints]
    base = _named(found, reference) if reference else None
    chosen = [c for c in found if not named or c in named or c == base]
    if len(chosen) < 2:
        have = counted(len(chosen), "configuration has", "configurations have")
        raise UserError(
            f"{have} results in the {f'ID range {id_range.key}' if id_range else 'corpus'}. Two are needed: run the "
            "job `pilot`, or `sum-assets backfill --no-publish`, with another configuration."
        )
    base = base or max(chosen, key=lambda c: c.published)
    texts: dict[str, dict[int, SampleSummary]] = {c.fingerprint: {} for c in chosen}
    quality: dict[str, Quality | None] = {base.fingerprint: None}
    for c in chosen:
        if c is not base:
            pair = _summaries(connection, where, c.fingerprint, base.fingerprint)
            texts[c.fingerprint] = pair[c.fingerprint]
            texts[base.fingerprint] |= pair[base.fingerprint]
            quality[c.fingerprint] = compare(pair[c.fingerprint], pair[base.fingerprint])
    return Comparison(chosen, base.fingerprint, quality, texts)


def _named(found: Sequence[Configuration], name: str) -> Configuration:
    matching = [c for c in found if c.fingerprint.startswith(name)]
    if len(matching) != 1:
        known = ", ".join(c.fingerprint for c in found) or "none"
        begin = counted(len(matching), "fingerprint begins", "fingerprints begin")
        raise UserError(f"{begin} with {name!r}. Those that have results here: {known}.")
    return matching[0]


def _summaries(
    connection: Connection, where: IdRange, candidate: str, reference: str
) -> dict[str, dict[int, SampleSummary]]:
    """Return what both wrote about the same abstracts, by fingerprint and ID."""
    written: dict[str, dict[int, SampleSummary]] = {candidate: {}, reference: {}}
    parameters = {"lo": where.lo, "hi": where.hi, "candidate": candidate, "reference": reference, "rows": PAIRS}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(statement("comparison_summaries"), parameters):
            fingerprint = row.pop("fingerprint")
            written[fingerprint][row["abstract_id"]] = SampleSummary(**row)
    return written
