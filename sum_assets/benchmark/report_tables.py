"""The tables of a benchmark report, for a terminal as for every file format."""

from sum_assets.backfill_time import RANGE_SECONDS
from sum_assets.benchmark.range_size import advise_rows
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.results_table import losers, results, summaries
from sum_assets.benchmark.section import Section
from sum_assets.units import count, counted, duration

#: The tables that decide. The run configuration comes next, then what a reader may want to know beside it.
DECIDING = ("results", "differences", "losers")


def quality(report: BenchmarkReport) -> Section:
    """Return how close the summaries are to those of full precision."""
    percents = ("same", "nearest", "empty", "capped", "repeated", "copied", "new_numbers")
    rows = []
    for p in report.presets:
        if q := p.quality:
            title = "" if q.title_ratio is None else f"{q.title_ratio:.0%}"
            figures = [f"{q.opening_rouge_l:.2f}", f"{q.rouge_l:.2f}", f"{q.chrf:.2f}", f"{q.length_ratio:.2f}", title]
            shares = [f"{getattr(q, name):.0%}" for name in percents]
            rows.append([p.preset, str(q.abstracts), *figures, *shares])
    headings = ["preset", "abstracts", "opening ROUGE-L", "ROUGE-L", "chrF", "length", "title"]
    headings += [name.replace("_", " ") for name in percents]
    note = (
        "Compared with the preset `reference`. `baseline` is the noise floor: full precision at another batch size. "
        "Opening: the first 32 words. Length: in words, as a ratio. Title: ROUGE-L against the titles, as a share "
        "of the reference's. Same: texts equal to the reference's. Nearest: texts nearer to the reference of their own "
        "abstract than to that of any other. Capped: ended by the output limit. Repeated: four words in a row that "
        "the text has already. Copied: four words in a row that the abstract has. New numbers: texts with a "
        "number that the abstract lacks."
    )
    return Section("Quality", headings, rows, note)


def details(report: BenchmarkReport) -> Section:
    """Return the spread over replicates, what binds, memory, workers' efficiency and power."""
    rows = []
    for p in report.presets:
        if p.rate:
            watts, busy = p.mean("device_watts"), p.mean("device_utilization")
            rows.append(
                [
                    p.preset,
                    f"{p.rate.p5:.3f} to {p.rate.p95:.3f}",
                    f"{p.mean('output_tokens') or 0:,.0f}",
                    f"{sum(r.phases['load_model'] for r in p.results) / len(p.results):.1f}",
                    f"{p.peak_mib:,}" if p.peak_mib else "",
                    (p.share and p.share.binds) or "",
                    "" if p.efficiency is None else f"{p.efficiency:.0%}",
                    "" if watts is None else f"{watts:,.0f}",
                    "" if busy is None else f"{busy:.0%}",
                ]
            )
    headings = ["preset", "abstracts/s, p5 to p95", "tokens out", "loading s", "peak MiB"]
    headings += ["binds", "efficiency", "watts", "device busy"]
    shown = [i for i in range(len(headings)) if i < 5 or any(row[i] for row in rows)]
    meanings = {
        "binds": "Binds: what took the most of the time: compute, memory, or overhead, which is all else.",
        "efficiency": "Efficiency: the rate by worker, over that of the fastest preset with one worker.",
    }
    notes = [meanings[headings[i]] for i in shown if headings[i] in meanings]
    return Section("Details", [headings[i] for i in shown], [[row[i] for i in shown] for row in rows], "\n".join(notes))


def projection(report: BenchmarkReport) -> Section | None:
    """Return the winner's time by phase, and its disk space."""
    if report.winner is None or (projected := report.winner.projection) is None:
        return None
    backfill = projected.backfill
    rows = [[name, duration(s / 86400), f"{s / projected.seconds:.1%}"] for name, s in projected.phases.items()]
    total = duration(projected.days)
    if projected.low is not None and projected.high is not None:
        total += f" ({duration(projected.low / 86400)} to {duration(projected.high / 86400)})"
    rows.append(["total (95 %)", total, "100.0%"])
    note = (
        f"{report.corpus.lengths_from}. {counted(backfill.ranges, 'ID range')} in {counted(backfill.runs, 'run')}. "
        f"Each run loads the model, and takes {backfill.run_seconds - backfill.load_seconds:.0f} s to start and end "
        f"(`runs`). Each range takes {RANGE_SECONDS} s beside its abstracts (`ranges`). Disk space: "
        f"summaries {projected.summary_bytes / 1e9:.2f} GB, event log {projected.event_log_bytes / 1e9:.2f} GB."
    )
    if projected.half_width and projected.half_width > 0.15:
        note += (
            f" The interval is {projected.half_width:.0%} to each side. More replicates or a larger sample narrow it."
        )
    note += f"\n{advise_rows(projected)}"
    title = f"{count(projected.rows)} abstracts with {report.winner.preset}"
    return Section(title, ["phase", "time", "share"], rows, note)


def differences(report: BenchmarkReport) -> Section:
    """Return the settings in which presets differ."""
    rows = [[key, *("" if v is None else str(v) for v in values)] for key, values in report.differences().items()]
    return Section("What differs", ["setting", *(p.preset for p in report.presets)], rows)


def sections(report: BenchmarkReport, compared: bool = False) -> dict[str, Section]:
    """Return all tables that have rows, by name; with `compared`, also the settings in which the presets differ."""
    tables = {
        "results": results(report),
        "differences": differences(report) if compared else None,
        "losers": losers(report),
        "summaries": summaries(report),
        "projection": projection(report),
        "quality": quality(report),
        "details": details(report),
    }
    return {name: section for name, section in tables.items() if section and section.rows}
