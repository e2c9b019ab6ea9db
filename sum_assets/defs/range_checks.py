"""The checks of an ID range: they say what `sum-assets verify` says, and which summaries call for a look."""

from collections.abc import Iterable

import dagster as dg

from sum_assets.benchmark.engine_gate import describe
from sum_assets.database.benchmark_results import GateVerdict, gate_verdict
from sum_assets.database.problems import range_problems
from sum_assets.database.reconnect import Database
from sum_assets.database.summary_counts import SummaryCounts, count_summaries
from sum_assets.database.verify import RangeState, verify_range
from sum_assets.defs.asset_names import SUMMARIES, SUMMARY_TABLE
from sum_assets.defs.checks import Verdict, asked_checks, log_checks, partitioned_check
from sum_assets.defs.partitions import id_ranges
from sum_assets.defs.range_events import newest_fingerprint
from sum_assets.id_range import IdRange
from sum_assets.units import counted

#: A larger share calls for a look at the settings or the source. It is no fault, so the check only warns.
BOUND = 0.05
GATE = "gate"
WHOLE, NOTHING_STALE, NOTHING_ORPHANED = "whole", "nothing_stale", "nothing_orphaned"
FEW_REJECTED, FEW_TRUNCATED, FEW_CAPPED = "few_rejected", "few_truncated", "few_capped"


def specs() -> list[dg.AssetCheckSpec]:
    """Return the checks of `summaries` and of `summary_table`."""
    of_summaries = {
        GATE: "The engine writes what transformers' own `generate` writes. It is judged once for each fingerprint.",
        FEW_REJECTED: f"At most {BOUND:.0%} of the abstracts have no summary, but a reason.",
        FEW_TRUNCATED: f"At most {BOUND:.0%} of the summaries are of an abstract cut to `max_input_tokens`.",
        FEW_CAPPED: f"At most {BOUND:.0%} of the summaries reached `max_output_tokens`.",
    }
    of_table = {
        WHOLE: "Every abstract of the source is published under one fingerprint, or rejected.",
        NOTHING_STALE: "No abstract has changed since it was summarized.",
        NOTHING_ORPHANED: "Nothing is published whose abstract is gone.",
    }
    return [
        *(partitioned_check(name, SUMMARIES, id_ranges, text) for name, text in of_summaries.items()),
        *(partitioned_check(name, SUMMARY_TABLE, id_ranges, text, blocking=True) for name, text in of_table.items()),
    ]


def table_verdicts(id_range: IdRange, state: RangeState) -> dict[str, Verdict]:
    """Judge what is published of a range."""
    problems = range_problems([(id_range, state)])
    remedy = problems[0].message if problems else "Materialize `summaries`, then `summary_table`."
    if state.duplicates:
        remedy = "Make `source_abstract` list every ID once, then materialize `summary_table`."
    left = {"to do": state.pending, "listed twice": state.duplicates, "not published as generated": state.differing}
    whole = not any(left.values()) and state.published - state.orphans + state.rejected == state.source
    counts = {"published": state.published, "rejected": state.rejected}
    counts |= {name: number for name, number in left.items() if number}
    listed = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    stale = counted(state.stale, "abstract has", "abstracts have")
    orphans = counted(state.orphans, "published summary has", "published summaries have")
    found = {
        WHOLE: (whole, {"pending": state.pending}, f"Of {counted(state.source, 'abstract')}: {listed}."),
        NOTHING_STALE: (not state.stale, {"stale": state.stale}, f"{stale} changed since."),
        NOTHING_ORPHANED: (not state.orphans, {"orphans": state.orphans}, f"{orphans} no abstract in the source."),
    }
    return {
        name: Verdict(passed, sentence if passed else f"{sentence} {remedy}", numbers)
        for name, (passed, numbers, sentence) in found.items()
    }


def summaries_verdicts(state: RangeState, counts: SummaryCounts, gate: GateVerdict | None) -> dict[str, Verdict]:
    """Judge the engine and the results of a range under one fingerprint."""
    if gate is None:
        judged = Verdict(True, "Nothing was judged: the engine has no model, or there was no abstract to compare on.")
    else:
        judged = Verdict(gate.passes, describe(gate) if gate.passes else gate.reason)
    return {
        GATE: judged,
        FEW_REJECTED: _share(
            state.rejected, state.source, "abstract", "rejected", "The table sum_assets.rejected_abstract says why."
        ),
        FEW_TRUNCATED: _share(
            counts.truncated, counts.summaries, "summary", "of a cut abstract", "A higher max_input_tokens reads more."
        ),
        FEW_CAPPED: _share(
            counts.capped, counts.summaries, "summary", "cut off", "A higher max_output_tokens lets them end."
        ),
    }


def _share(number: int, total: int, one: str, what: str, remedy: str) -> Verdict:
    share = number / total if total else 0.0
    many = "summaries" if one == "summary" else "abstracts"
    sentence = f"Of {counted(total, one, many)}, {counted(number, 'is', 'are')} {what} ({share:.1%})."
    passed = share <= BOUND
    return Verdict(passed, sentence if passed else f"{sentence} {remedy}", {"share": round(share, 4)}, warns=True)


def check_table(context: dg.AssetExecutionContext, id_range: IdRange, state: RangeState) -> list[str]:
    """Log the checks of `summary_table` that were asked for, and return the sentences of those that fail."""
    return log_checks(context, SUMMARY_TABLE, id_range.key, table_verdicts(id_range, state))


def check_summaries(
    context: dg.AssetExecutionContext, database: Database, id_range: IdRange, state: RangeState
) -> None:
    """Log the checks of `summaries` that were asked for; `state` is that of the range under its fingerprint."""
    if asked_checks(context, SUMMARIES):
        counts = database.run(count_summaries, id_range, state.fingerprint)
        gate = database.run(gate_verdict, state.fingerprint or "")
        log_checks(context, SUMMARIES, id_range.key, summaries_verdicts(state, counts, gate))


def check_again(
    context: dg.AssetExecutionContext, database: Database, id_range: IdRange, made: Iterable[str]
) -> list[str]:
    """Log the checks of assets that this run does not make; return the sentences of those that fail and block."""
    failed = []
    if SUMMARIES not in made and asked_checks(context, SUMMARIES):
        fingerprint = newest_fingerprint(context, SUMMARIES, id_range.key)
        check_summaries(context, database, id_range, database.run(verify_range, id_range, fingerprint))
    if SUMMARY_TABLE not in made and asked_checks(context, SUMMARY_TABLE):
        failed = check_table(context, id_range, database.run(verify_range, id_range))
    return failed


def fail_gate(context: dg.AssetExecutionContext, reason: str) -> None:
    """Log for all ranges of a run that its engine is refused."""
    for key in context.partition_keys:
        log_checks(context, SUMMARIES, key, {GATE: Verdict(False, reason)})
