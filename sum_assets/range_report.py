"""Writes a run's report as text: what a person reads first."""

from sum_assets.pipeline import RangeReport
from sum_assets.units import LAB_CORPUS, duration


def report_text(report: RangeReport, corpus_rows: int) -> str:
    """Return total, summarization, insert and loading time, their means per abstract, and days.

    Where the run generated nothing, it says so, and gives no rates. No line is longer than what the page of
    a partition shows (about 45 characters at 1280 pixels).
    """
    rejected = f"{sum(report.rejected.values())} abstracts rejected" if report.rejected else ""
    if not report.summarized:
        return rejected or "Nothing to do: every abstract had its result."
    phases = report.phases
    summarization = phases["tokenize"] + phases["generate"] + phases["detokenize"]
    lines = [f"{report.summarized} abstracts summarized in {report.seconds:.1f} s", *filter(None, [rejected]), ""]
    for name, seconds in (
        ("total", report.seconds),
        ("summarization", summarization),
        ("insert", phases["write"]),
        ("read", phases["read"]),
        ("model loading", phases["load_model"]),
        ("other", phases["other"]),
    ):
        mean, share = seconds / report.summarized, seconds / report.seconds
        lines.append(f"{name:<14}{seconds:>9.2f} s{mean:>9.4f} s each{share:>5.0%}")
    for worker in report.engine.workers if report.engine else ():
        lines.append(f"{worker.name:<18}{worker.rows:>7} rows, {worker.busy:.0%} busy")
        if worker.restarts:
            lines.append(f"  started {worker.restarts + 1} times")
        if worker.quarantined:
            lines.append(f"  quarantined: {worker.quarantined}")
    lines += ["", "at this rate, the model loaded once:"]
    for label, rows in (("this corpus", corpus_rows), ("the lab's", LAB_CORPUS)):
        lines.append(f"{label:<12}{rows:>10,} {duration(report.days(rows) or 0):>14}")
    return "\n".join(lines)
