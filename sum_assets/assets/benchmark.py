"""Measures presets of the registered sweep, and puts them side by side."""

from typing import cast

import dagster as dg
import yaml
from pydantic import Field

from sum_assets.assets.id_ranges import failing_clearly
from sum_assets.benchmark.report import PresetReport, as_markdown, report, run_configuration
from sum_assets.benchmark.run import Measured, registered_sweep, run_sweep
from sum_assets.corpus.results import count_source
from sum_assets.errors import UserError
from sum_assets.resources import PostgresResource

presets = dg.DynamicPartitionsDefinition(name="preset")


class BenchmarkConfig(dg.Config):
    """How to measure."""

    force: bool = Field(default=False, description="Measure again what is measured already.")


@dg.asset(partitions_def=presets, group_name="benchmark", kinds={"python"}, code_version="1", pool="gpu")
def benchmark(
    context: dg.AssetExecutionContext, config: BenchmarkConfig, postgres: PostgresResource
) -> dg.MaterializeResult[None]:
    """One preset, measured on a fixed sample of the whole corpus, in turn with the baseline; nothing is published.

    Its settings are the preset's alone. Register presets with `sum-assets sweep FILE`.
    """
    with failing_clearly(context), postgres.connection() as connection:
        for key in {"gpu", "summarizer"} & set(cast(dict[str, object], context.run.run_config.get("resources") or {})):
            raise UserError(f"A preset takes its settings from the sweep alone. Take {key!r} out of the configuration.")

        def tell(measured: Measured, new: bool) -> None:
            result = measured.result
            said = f"{result.abstracts} abstracts in {result.seconds:.1f} s" if result.seconds else result.detail
            source = "" if new else " (measured before)"
            context.log.info(f"{measured.cell.name}, {measured.cell.replicate}: {result.outcome}, {said}{source}")

        sweep, summarizer = registered_sweep(connection)
        keys = context.partition_keys
        measured = run_sweep(connection, sweep, summarizer, keys, force=config.force, on_cell=tell)
        rows = count_source(connection)
        for row in report(connection, measured, rows):
            if row.preset in keys:
                context.add_asset_metadata(_metadata(row, rows), partition_key=row.preset)
    return dg.MaterializeResult()


def _metadata(row: PresetReport, corpus_rows: int) -> dict[str, dg.MetadataValue]:
    plain = row.as_json()
    names = ("abstracts_per_second", "speedup", "speedup_low", "speedup_high", "same_as_baseline")
    numbers = {name: plain[name] for name in names} | {"days_for_this_corpus": row.days}
    return {
        "sentence": dg.MetadataValue.text(row.sentence(corpus_rows)),
        "outcome": dg.MetadataValue.text(row.outcome),
        **{k: dg.MetadataValue.float(float(f"{v:.4g}")) for k, v in numbers.items() if v is not None},
        "settings": dg.MetadataValue.json(row.settings),
    }


@dg.asset(deps=[benchmark], group_name="benchmark", kinds={"python"}, code_version="1")
def benchmark_report(context: dg.AssetExecutionContext, postgres: PostgresResource) -> dg.MaterializeResult[None]:
    """All results of the registered sweep side by side, and the run configuration of the fastest."""
    with failing_clearly(context), postgres.connection() as connection:
        sweep, summarizer = registered_sweep(connection)
        measured = run_sweep(connection, sweep, summarizer, measure=False)
        if not measured:
            raise UserError("Nothing of the registered sweep is measured yet. Materialize `benchmark`.")
        corpus_rows = count_source(connection)
        rows = report(connection, measured, corpus_rows)
        return dg.MaterializeResult(
            metadata={
                "fastest": rows[0].sentence(corpus_rows),
                "results": dg.MetadataValue.md(as_markdown(rows)),
                "run_configuration": dg.MetadataValue.md(f"```yaml\n{yaml.safe_dump(run_configuration(rows[0]))}```"),
                "json": dg.MetadataValue.json([row.as_json() for row in rows]),
            }
        )
