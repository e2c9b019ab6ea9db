"""The columns of the tables that assets read and write, for the UI."""

import dagster as dg


def _column(name: str, kind: str, description: str, *, unique: bool = False, nullable: bool = False) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=nullable, unique=unique)
    return dg.TableColumn(name, kind, description, constraints)


def _metadata(table: str, *columns: dg.TableColumn) -> dict[str, object]:
    return {"dagster/table_name": table, "dagster/column_schema": dg.TableSchema(list(columns))}


#: The view that the source is read through. A view promises neither unique nor present values.
SOURCE_ABSTRACT = _metadata(
    "sum_assets.source_abstract",
    _column("abstract_id", "bigint", "The ID of your own table, for example a PMID.", nullable=True),
    _column("abstract", "text", "The text to summarize.", nullable=True),
)
#: The published summaries.
ABSTRACT_SUMMARY = _metadata(
    "sum_assets.abstract_summary",
    _column("abstract_id", "bigint", "The ID of the abstract.", unique=True),
    _column("summary", "text", "The summary."),
    _column("source_hash", "bytea", "The first 16 bytes of the SHA-256 of the abstract that it was made of."),
    _column("fingerprint", "text", "Names all settings that can change the text: `sum_assets.summarizer_config`."),
    _column("run_id", "text", "The run that generated it."),
    _column("published_at", "timestamp with time zone", "When it was published."),
)
