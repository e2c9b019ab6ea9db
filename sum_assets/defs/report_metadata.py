"""Turns the benchmark report into metadata: what decides first, and without a click."""

import dagster as dg

from sum_assets.benchmark.inline_plots import inline_plots
from sum_assets.benchmark.plots import as_markdown_image, figures
from sum_assets.benchmark.render_report import markdown_table
from sum_assets.benchmark.report import BenchmarkReport
from sum_assets.benchmark.report_tables import sections
from sum_assets.benchmark.results_table import Page, in_width
from sum_assets.defs.metadata import table_metadata

#: Of the winner, for the plots over time.
_NUMBERS = ("speedup", "days", "cost", "energy_kwh")
#: Pixels of a value on the page of an asset, in a window of 1,500. A table that is wider is cut off, and so are the
#: texts above and below, which take its width. A key of more than 16 characters would leave less.
_PAGE = Page(width=474, heading=7.2, cell=8.43, around=17, breaks_words=True)


def report_metadata(report: BenchmarkReport) -> dict[str, dg.MetadataValue]:
    """Return the page of the report. The UI shows texts, tables and short Markdown at once, the rest behind a link.

    The tables of quality and details are wider than the page: they are in the HTML report.
    """
    tables = sections(report)
    metadata: dict[str, dg.MetadataValue] = {"winner": dg.MetadataValue.text(report.sentence)}
    for number, part in enumerate(in_width(tables["results"], _PAGE), 1):
        metadata["results" if number == 1 else f"results_{number}"] = table_metadata(part)
    metadata |= {name: dg.MetadataValue.md(text) for name, text in inline_plots(report).items()}
    metadata["run_config"] = dg.MetadataValue.json(report.run_configuration())
    metadata |= {name: table_metadata(tables[name]) for name in ("losers", "projection") if name in tables}
    for name in ("results", "projection"):
        if name in tables and (note := tables[name].note):
            metadata[f"{name}_note"] = dg.MetadataValue.md(note.replace("\n", "\n\n"))
    if summaries := tables.get("summaries"):
        metadata["summaries"] = dg.MetadataValue.md(markdown_table(summaries))
    for name, figure in figures(report).items():
        metadata[f"plot_{name}"] = dg.MetadataValue.md(as_markdown_image(figure))
    metadata["measured_on"] = dg.MetadataValue.md("\n".join(f"- {k}: {v}" for k, v in report.facts.items()))
    plain = report.winner.as_json() if report.winner else {}
    numbers = {name: plain.get(name) for name in _NUMBERS}
    metadata |= {k: dg.MetadataValue.float(float(f"{v:.4g}")) for k, v in numbers.items() if v is not None}
    metadata["json"] = dg.MetadataValue.json([preset.as_json() for preset in report.presets])
    return metadata
