"""Renders a benchmark report as Markdown, HTML, CSV or JSON."""

import csv
import html
import io
import json
from collections.abc import Sequence

import yaml

from sum_assets.benchmark.plots import as_svg, figures
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.report_tables import DECIDING, sections
from sum_assets.benchmark.section import Section


def as_markdown(report: BenchmarkReport, *, compared: bool = False) -> str:
    """Return the report as Markdown."""
    tables = {name: _markdown_section(section) for name, section in sections(report, compared).items()}
    parts = [
        f"**{report.sentence}**",
        *(text for name, text in tables.items() if name in DECIDING),
        f"### Run configuration\n\n```yaml\n{yaml.safe_dump(report.run_configuration())}```",
        *(text for name, text in tables.items() if name not in DECIDING),
        "### Measured on\n\n" + "\n".join(f"- {name}: {value}" for name, value in report.facts.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_section(section: Section) -> str:
    return "\n\n".join([f"### {section.title}", markdown_table(section), *section.note.splitlines()])


def markdown_table(section: Section) -> str:
    """Return one table as Markdown, without its title and note."""
    lines = [section.headings, ["---"] * len(section.headings), *section.rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text without what would end its cell."""
    return " ".join(text.replace("|", "/").split())


def as_json(report: BenchmarkReport) -> str:
    """Return the presets as a JSON list of objects."""
    return json.dumps([p.as_json() for p in report.presets], indent=2)


def as_csv(report: BenchmarkReport) -> str:
    """Return the presets as CSV, one row each; a cell that is not a number or a word is JSON."""
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
.sentence { font-size: 1.1rem; border-left: 4px solid #0072b2; padding-left: 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
pre { background: #f4f4f4; padding: 1rem } svg { max-width: 100%; height: auto } .note { color: #555 }
"""


def as_html(report: BenchmarkReport, *, compared: bool = False) -> str:
    """Return the report as one HTML file with everything in it."""
    parts = [f"<p class='sentence'>{html.escape(report.sentence)}</p>"]
    tables = {name: _html_section(section) for name, section in sections(report, compared).items()}
    parts += [text for name, text in tables.items() if name in DECIDING]
    parts += [f"<p>{as_svg(figure)}</p>" for figure in figures(report).values()]
    configuration = html.escape(yaml.safe_dump(report.run_configuration()))
    parts += ["<h2>Run configuration, to paste into the launchpad or a backfill</h2>", f"<pre>{configuration}</pre>"]
    parts += [text for name, text in tables.items() if name not in DECIDING]
    facts = [[name, value] for name, value in report.facts.items()]
    parts += ["<h2>Measured on</h2>", _html_table(Section("", [], facts))]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>sum_assets benchmark</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head><body>"
        f"<h1>Which configuration is fastest</h1>{''.join(parts)}</body></html>\n"
    )


def _html_section(section: Section) -> str:
    notes = "".join(f"<p class='note'>{html.escape(line)}</p>" for line in section.note.splitlines())
    return f"<h2>{html.escape(section.title)}</h2>{_html_table(section)}{notes}"


def _html_table(section: Section) -> str:
    head = _html_row(section.headings, "th") if section.headings else ""
    body = "".join(_html_row(row, "td") for row in section.rows)
    return f"<div class='wide'><table>{head}{body}</table></div>"


def _html_row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"
