"""The asset that compares what runs made under different fingerprints."""

import re

import dagster as dg
from pydantic import Field, field_validator

from sum_assets.benchmark.compare_fingerprints import EXAMPLES_TITLE, compare_fingerprints
from sum_assets.database.range_registry import parse_keys, require_known
from sum_assets.defs.checked_config import checked_fields, config_of
from sum_assets.defs.failures import failing_clearly
from sum_assets.defs.metadata import table_metadata
from sum_assets.defs.partitions import id_ranges
from sum_assets.defs.resources import PostgresResource
from sum_assets.id_range import IdRange

_BEGINNING = re.compile(r"[0-9a-f]{1,16}")


class ComparisonConfig(dg.Config):
    """What to compare."""

    id_range: str | None = Field(default=None, description="One ID range, by its key. Without it: the whole corpus.")
    fingerprints: list[str] = Field(
        default_factory=list, description="Only these fingerprints, or their beginnings. Without any: all."
    )
    reference: str | None = Field(
        default=None, description="The fingerprint to compare with. Without it: the one that is published."
    )

    @field_validator("id_range")
    @classmethod
    def _a_range(cls, value: str | None) -> str | None:
        if value is not None:
            IdRange.from_key(value)
        return value

    @field_validator("fingerprints", "reference")
    @classmethod
    def _hexadecimal(cls, value: list[str] | str | None) -> list[str] | str | None:
        for name in [value] if isinstance(value, str) else value or ():
            if not _BEGINNING.fullmatch(name):
                raise ValueError(f"a fingerprint has up to 16 hexadecimal digits, unlike {name!r}")
        return value


@dg.asset(group_name="summaries", kinds={"python"}, config_schema=checked_fields(ComparisonConfig))
def comparison(context: dg.AssetExecutionContext, postgres: PostgresResource) -> dg.MaterializeResult[None]:
    """What runs made of the same abstracts under different configurations: speed, texts and settings, side by side.

    Make pilots of one ID range with several configurations, then materialize this.
    """
    from sum_assets.benchmark.render_report import markdown_table  # it loads matplotlib, which no other step needs

    config = config_of(context, ComparisonConfig)
    with failing_clearly(context), postgres.connection() as connection:
        known, _ = parse_keys(context.instance.get_dynamic_partitions(id_ranges.name or ""))
        id_range = require_known(config.id_range, known) if config.id_range else None
        found = compare_fingerprints(connection, id_range, config.fingerprints, config.reference)
    metadata: dict[str, dg.MetadataValue] = {"reference": dg.MetadataValue.text(found.reference)}
    for section in found.sections():
        # The cells of a table do not break long texts.
        shown = (
            dg.MetadataValue.md(markdown_table(section)) if section.title == EXAMPLES_TITLE else table_metadata(section)
        )
        metadata[section.title.lower().replace(" ", "_")] = shown
    return dg.MaterializeResult(metadata=metadata)
