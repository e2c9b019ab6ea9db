"""The asset of the registered sweep."""

from pathlib import Path

import dagster as dg
from pydantic import Field, field_validator

from sum_assets.benchmark.sweep import parse_sweep, read_sweep
from sum_assets.defs.asset_names import SWEEP
from sum_assets.defs.checked_config import checked_fields, config_of
from sum_assets.defs.failures import failing_clearly
from sum_assets.defs.resources import PostgresResource, SummarizerResource
from sum_assets.defs.sweep_registration import register_sweep
from sum_assets.paths import shipped


class SweepConfig(dg.Config):
    """Which sweep to register."""

    file: str = Field(
        default="sweeps/cpu.yaml",
        description="A sweep file where the code runs: one that is shipped, such as sweeps/gpu.yaml, or your own.",
    )
    text: str | None = Field(
        default=None, description="The sweep itself, as the text of such a file. `file` then has no effect."
    )

    @field_validator("file")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("file must not be empty. Name a sweep file, such as sweeps/cpu.yaml.")
        return value

    @field_validator("text")
    @classmethod
    def _a_sweep(cls, value: str | None) -> str | None:
        if value:
            parse_sweep(value, "text")
        return value


@dg.asset(name=SWEEP, group_name="benchmark", kinds={"yaml"}, config_schema=checked_fields(SweepConfig))
def sweep(
    context: dg.AssetExecutionContext, summarizer: SummarizerResource, postgres: PostgresResource
) -> dg.MaterializeResult[None]:
    """The presets to measure, on which sample, with which model. Materialized, it registers a sweep file.

    Its presets become the partitions of `benchmark`. The model is that of the resource `summarizer`.
    """
    config = config_of(context, SweepConfig)
    with failing_clearly(context), postgres.connection() as connection:
        plan = parse_sweep(config.text, "text") if config.text else read_sweep(shipped(Path(config.file)))
        return dg.MaterializeResult(metadata=register_sweep(context.instance, connection, plan, summarizer.settings()))
