"""Writes a run's report as text: what a person reads first."""

from sum_assets.pipeline import RangeReport

#: The corpus that the project was made for, in abstracts.
LAB_CORPUS = 3_680_000


def report_text(report: RangeReport, corpus_rows: int) -> str:
    """Return total, summarization, insert and loading time, their means per abstract, and days.

    Where the run had nothing to generate, it says so, and gives no rates.
    """
    rejected = f", {sum(report.rejected.values())} rejected" if report.rejected else ""
    if not report.summarized:
        return f"Nothing to summarize: {report.pending} abstracts were pending{rejected}."
    phases = report.phases
    summarization = phases["tokenize"] + phases["generate"] + phases["detokenize"]
    lines = [f"{report.summarized} abstracts summarized{rejected} in {report.seconds:.1f} s", ""]
    for name, seconds in (
        ("total time", report.seconds),
        ("summarization time", summarization),
        ("insert time", phases["write"]),
        ("read time", phases["read"]),
        ("model loading time", phases["load_model"]),
        ("other", phases["other"]),
    ):
        share = seconds / report.seconds
        lines.append(f"{name:<20}{seconds:>10.2f} s{seconds / report.summarized:>10.4f} s each{share:>8.1%}")
    lines.append("")
    for label, rows in (("this corpus", corpus_rows), ("the lab's corpus", LAB_CORPUS)):
        lines.append(f"{label:<20}{rows:>10,} abstracts at this rate: {duration(report.days(rows) or 0)}")
    return "\n".join(lines)


def duration(days: float) -> str:
    """Return a time span in the unit that suits it."""
    for unit, per_day in (("days", 1), ("hours", 24), ("minutes", 1440)):
        if days * per_day >= 2:
            return f"{days * per_day:,.1f} {unit}"
    return f"{days * 86400:.0f} seconds"
