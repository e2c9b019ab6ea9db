"""Registers a sweep: its presets become the partitions of `benchmark`."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from psycopg import Connection

from sum_assets.benchmark.sweep import Sweep
from sum_assets.database.benchmark_results import store_sweep
from sum_assets.database.source_table import read_state
from sum_assets.defs.asset_names import SWEEP
from sum_assets.defs.partitions import presets
from sum_assets.summarizer import SummarizerSettings
from sum_assets.units import counted


def register_sweep(
    instance: dg.DagsterInstance, connection: Connection, sweep: Sweep, summarizer: SummarizerSettings
) -> dict[str, Any]:
    """Register a sweep in place of an earlier one, and return metadata that says what was registered."""
    source = ", ".join(read_state(connection)[1]) or "no table"
    store_sweep(connection, sweep.model_dump(), summarizer.model_dump())
    register_presets(instance, list(sweep.all_presets()))
    return {
        "registered": f"{len(sweep.all_presets())} presets: {', '.join(sweep.all_presets())}",
        "model": summarizer.model,
        "measured": f"at most {summarizer.max_input_tokens} tokens in and {summarizer.max_output_tokens} out; "
        f"{sweep.sample} abstracts of {source}, {counted(sweep.replicates, 'time')}",
        "presets": _presets(sweep),
        "summarizer": dg.MetadataValue.json(summarizer.model_dump()),
    }


def register_presets(instance: dg.DagsterInstance, names: Sequence[str]) -> None:
    """Make the presets of a sweep the partitions of `benchmark`; the history of others stays."""
    partitions = presets.name or ""
    for name in set(instance.get_dynamic_partitions(partitions)) - set(names):
        instance.delete_dynamic_partition(partitions, name)
    instance.add_dynamic_partitions(partitions, list(names))


def report_registration(instance: dg.DagsterInstance, metadata: dict[str, Any]) -> None:
    """Show in the UI what was registered outside of a run."""
    instance.report_runless_asset_event(dg.AssetMaterialization(SWEEP, metadata=metadata))


def _presets(sweep: Sweep) -> dg.TableMetadataValue:
    """Return the settings of each preset that are not at their default."""
    records = []
    for name, preset in sweep.all_presets().items():
        settings = preset.model_dump(exclude_defaults=True)
        records.append(dg.TableRecord({"preset": name, "settings": ", ".join(f"{k} {v}" for k, v in settings.items())}))
    return dg.MetadataValue.table(records)
