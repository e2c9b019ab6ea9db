"""The assets of the benchmark: one partition for each preset, and the report over all."""

from collections.abc import Iterator
from typing import cast

import dagster as dg
from psycopg import Connection
from pydantic import Field

from sum_assets.benchmark.build_report import build_report
from sum_assets.benchmark.corpus_lengths import Corpus, read_corpus
from sum_assets.benchmark.preset_result import PresetResult
from sum_assets.benchmark.run_sweep import CellMeasurement, earlier_measurements, registered_sweep, run_sweep
from sum_assets.defs import preset_checks
from sum_assets.defs.asset_names import SWEEP
from sum_assets.defs.checks import check_outputs
from sum_assets.defs.failures import failing_clearly
from sum_assets.defs.partitions import id_ranges, presets
from sum_assets.defs.resources import PostgresResource
from sum_assets.errors import UserError


class BenchmarkConfig(dg.Config):
    """How to measure."""

    force: bool = Field(default=False, description="Measure again what is measured already.")


@dg.asset(
    deps=[SWEEP],
    partitions_def=presets,
    group_name="benchmark",
    kinds={"python"},
    code_version="1",
    pool="gpu",
    check_specs=preset_checks.specs(presets),
)
def benchmark(
    context: dg.AssetExecutionContext, config: BenchmarkConfig, postgres: PostgresResource
) -> Iterator[dg.MaterializeResult[None] | dg.Output[None]]:
    """One preset, measured on a fixed sample of the whole corpus, in turn with the baseline. Nothing is published.

    The settings are those of the preset. The asset `sweep`, or `sum-assets sweep FILE`, registers presets.
    Fails where it could not be measured.
    """
    with failing_clearly(context), postgres.connection() as connection:
        for key in {"gpu", "summarizer"} & set(cast(dict[str, object], context.run.run_config.get("resources") or {})):
            raise UserError(
                f"A preset takes its settings from the sweep alone. Remove {key!r} from the run configuration."
            )

        def log_result(measurement: CellMeasurement, new: bool, total: int) -> None:
            cell, result = measurement.cell, measurement.result
            summary = f"{result.abstracts} abstracts in {result.seconds:.1f} s" if result.seconds else result.detail
            source = "" if new else " (measured before)"
            context.log.info(f"{cell.name}, replicate {cell.replicate}: {result.outcome}, {summary}{source}")

        sweep, summarizer = registered_sweep(connection)
        keys = context.partition_keys
        measurements = run_sweep(
            connection,
            sweep,
            summarizer,
            keys,
            alone=True,
            force=config.force,
            on_result=log_result,
            log=context.log.info,
        )
        report = build_report(connection, measurements, _corpus(context, connection), sweep.price_per_hour)
        measured = [preset for preset in report.presets if preset.preset in keys]
        for preset in measured:
            if preset.rate is None:
                preset_checks.check(context, preset)
        if failed := [preset.sentence() for preset in measured if preset.rate is None]:
            raise UserError("\n".join(failed))
        for preset in measured:
            metadata = {"model": summarizer.model, "sample": sweep.sample, **_metadata(preset)}
            context.add_asset_metadata(metadata, partition_key=preset.preset)
        yield dg.MaterializeResult()
        for preset in measured:  # on the materialization that was just logged
            preset_checks.check(context, preset)
    yield from check_outputs(context)


def _corpus(context: dg.AssetExecutionContext, connection: Connection) -> Corpus:
    return read_corpus(connection, len(context.instance.get_dynamic_partitions(id_ranges.name or "")))


def _metadata(preset: PresetResult) -> dict[str, dg.MetadataValue]:
    """Return the numbers that the asset's plots compare, and the results in words and as JSON."""
    plain = preset.as_json()
    names = ["abstracts_per_second", "speedup", "speedup_low", "speedup_high", "days", "peak_mib", "device_watts"]
    names += ["share_of_limit", "cost", "energy_kwh"]
    numbers = {name: plain[name] for name in names}
    if preset.quality:
        numbers |= {"same": preset.quality.same, "opening_rouge_l": preset.quality.opening_rouge_l}
    return {
        "sentence": dg.MetadataValue.text(preset.sentence()),
        "outcome": dg.MetadataValue.text(preset.outcome),
        **({"gate": dg.MetadataValue.text(str(preset.gate))} if preset.gate else {}),
        **{k: dg.MetadataValue.float(float(f"{v:.4g}")) for k, v in numbers.items() if v is not None},
        "settings": dg.MetadataValue.json(preset.settings),
        "json": dg.MetadataValue.json(plain),
    }


@dg.asset(deps=[benchmark], group_name="benchmark", kinds={"python"}, code_version="2")
def benchmark_report(context: dg.AssetExecutionContext, postgres: PostgresResource) -> dg.MaterializeResult[None]:
    """Which configuration is fastest and safe, and what it costs: all presets side by side, and the winner to paste."""
    # Imported here, since every step of every run is a process, and would load matplotlib in vain.
    from sum_assets.defs.report_metadata import report_metadata

    with failing_clearly(context), postgres.connection() as connection:
        sweep, summarizer = registered_sweep(connection)
        measurements = earlier_measurements(connection, sweep, summarizer)
        report = build_report(connection, measurements, _corpus(context, connection), sweep.price_per_hour)
        return dg.MaterializeResult(metadata=report_metadata(report))
