"""Writes a report as Markdown, HTML, CSV or JSON, and as the tables of a terminal."""

import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from sum_assets.benchmark.plots import as_svg, figures
from sum_assets.benchmark.report import PresetReport, Report, interval
from sum_assets.units import count, duration


@dataclass(frozen=True, slots=True)
class Section:
    """A table of a report, with its title and a note below."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    note: str = ""


def results(report: Report) -> Section:
    """Return what decides: outcome, speed, gate, days."""
    rows = [
        [
            p.preset,
            p.outcome,
            f"{p.rate.median:.3f}" if p.rate else "",
            _speedup(p),
            "" if p.gate is None else "passes" if p.gate.passes else "fails",
            f"{p.projection.days:,.2f}" if p.projection else "",
        ]
        for p in report.presets
    ]
    said = [f"{p.preset}: {p.detail or p.gate}" for p in report.presets if p.detail or (p.gate and not p.gate.passes)]
    for p in report.presets:
        if p.results and (most := max(r.abstracts for r in p.results)) < p.settings["batch_size"]:
            said.append(f"{p.preset}: no batch had more than {most} abstracts, the sample. Take a larger one.")
    headings = ["preset", "outcome", "abstracts/s", "speed-up (95 %)", "gate", "days"]
    return Section("Results", headings, rows, "\n".join(said))


def quality(report: Report) -> Section:
    """Return how near the summaries are to those of full precision."""
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
        "Against the preset `reference`; `baseline` beside it is the noise floor, full precision at another batch "
        "size. Opening: the first 32 words. Length: in words, as a ratio. Title: ROUGE-L against the titles, as a "
        "share of the reference's."
    )
    return Section("Quality", headings, rows, note)


def details(report: Report) -> Section:
    """Return the spread over replicates, memory, workers and power."""
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
                    f"{p.workers}" if p.workers > 1 else "",
                    "" if p.efficiency is None else f"{p.efficiency:.0%}",
                    "" if watts is None else f"{watts:,.0f}",
                    "" if busy is None else f"{busy:.0%}",
                ]
            )
    headings = ["preset", "abstracts/s, p5 to p95", "tokens out", "loading s", "peak MiB"]
    headings += ["workers", "efficiency", "watts", "device busy"]
    shown = [i for i in range(len(headings)) if i < 5 or any(row[i] for row in rows)]
    note = ""
    if any(p.efficiency is not None for p in report.presets):
        note = "Efficiency: the rate over that of one worker, the best by its threads, divided by the workers."
    return Section("Details", [headings[i] for i in shown], [[row[i] for i in shown] for row in rows], note)


def projection(report: Report) -> Section | None:
    """Return the winner's time by phase, and what it leaves on the disk."""
    if report.winner is None or (found := report.winner.projection) is None:
        return None
    rows = [[name, duration(s / 86400), f"{s / found.seconds:.1%}"] for name, s in found.phases.items()]
    total = duration(found.days)
    if found.low is not None and found.high is not None:
        total += f" ({duration(found.low / 86400)} to {duration(found.high / 86400)})"
    rows.append(["total (95 %)", total, "100.0%"])
    note = (
        f"{report.corpus.lengths_from}; {report.corpus.runs:,} runs, each of which loads the model. On the disk: "
        f"summaries {found.summary_bytes / 1e9:.2f} GB, Dagster's event log {found.event_log_bytes / 1e9:.2f} GB."
    )
    if found.half_width and found.half_width > 0.15:
        note += f" The interval is {found.half_width:.0%} to each side: more replicates or a larger sample narrow it."
    title = f"{count(found.rows)} abstracts with {report.winner.preset}"
    return Section(title, ["phase", "time", "share"], rows, note)


def differences(report: Report) -> Section:
    """Return the settings in which presets differ."""
    rows = [[key, *("" if v is None else str(v) for v in values)] for key, values in report.differences().items()]
    return Section("What differs", ["setting", *(p.preset for p in report.presets)], rows)


def sections(report: Report, compared: bool = False) -> dict[str, Section]:
    """Return all tables by name; with `compared`, the settings in which the presets differ as well."""
    found = {
        "results": results(report),
        "differences": differences(report) if compared else None,
        "projection": projection(report),
        "quality": quality(report),
        "details": details(report),
    }
    return {name: section for name, section in found.items() if section and section.rows}


def as_markdown(report: Report, *, compared: bool = False) -> str:
    """Return the report as Markdown."""
    parts = [f"**{report.sentence}**"]
    for section in sections(report, compared).values():
        parts += [f"### {section.title}", markdown_table(section)]
        parts += [section.note.replace("\n", "\n\n")] if section.note else []
    parts += ["### Run configuration", f"```yaml\n{yaml.safe_dump(report.run_configuration())}```"]
    parts += ["### Measured on", "\n".join(f"- {name}: {value}" for name, value in report.facts.items())]
    return "\n\n".join(parts) + "\n"


def markdown_table(section: Section) -> str:
    """Return a table alone as Markdown."""
    lines = [section.headings, ["---"] * len(section.headings), *section.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def as_json(report: Report) -> str:
    """Return the presets as a JSON list of objects."""
    return json.dumps([p.as_json() for p in report.presets], indent=2)


def as_csv(report: Report) -> str:
    """Return the presets as CSV, one row each; what is not a number or a word is JSON in its cell."""
    rows = [p.as_json() for p in report.presets]
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()})
    return out.getvalue()


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
.said { font-size: 1.1rem; border-left: 4px solid #0072b2; padding-left: 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
pre { background: #f4f4f4; padding: 1rem } svg { max-width: 100%; height: auto } .note { color: #555 }
"""


def as_html(report: Report, *, compared: bool = False) -> str:
    """Return the report as one HTML file that needs no other."""
    parts = [f"<p class='said'>{html.escape(report.sentence)}</p>"]
    for section in sections(report, compared).values():
        parts += [f"<h2>{html.escape(section.title)}</h2>", _html_table(section)]
        parts += [f"<p class='note'>{html.escape(line)}</p>" for line in section.note.splitlines()]
    parts += [f"<p>{as_svg(figure)}</p>" for figure in figures(report).values()]
    configuration = html.escape(yaml.safe_dump(report.run_configuration()))
    parts += ["<h2>Run configuration, to paste into the launchpad or a backfill</h2>", f"<pre>{configuration}</pre>"]
    facts = [[name, value] for name, value in report.facts.items()]
    parts += ["<h2>Measured on</h2>", _html_table(Section("", [], facts))]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>sum_assets benchmark</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head><body>"
        f"<h1>Which configuration is fastest</h1>{''.join(parts)}</body></html>\n"
    )


def _html_table(section: Section) -> str:
    head = _html_row(section.headings, "th") if section.headings else ""
    body = "".join(_html_row(row, "td") for row in section.rows)
    return f"<div class='wide'><table>{head}{body}</table></div>"


def _html_row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _speedup(preset: PresetReport) -> str:
    speedup = preset.speedup
    if speedup is None:
        return ""
    return f"{'undecided' if preset.undecided else f'{speedup.median:.1f}x'} ({interval(speedup)})"
