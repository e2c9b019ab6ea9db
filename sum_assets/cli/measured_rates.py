"""Rates of devices for a simulation, from the presets that the registered sweep has measured."""

import math

from sum_assets.benchmark.build_report import build_report
from sum_assets.benchmark.corpus_lengths import read_corpus
from sum_assets.benchmark.run_sweep import earlier_measurements, registered_sweep
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.errors import UserError
from sum_assets.simulation.fleet import Fleet, Rate


def measured_rates(fleet: Fleet) -> dict[str, Rate]:
    """Return the rate of each preset that the fleet names, projected to the fleet's rows.

    Raises UserError for a preset that was not measured, that did not work, or that has several devices.
    """
    with connect() as connection:
        schema.require_schema(connection)
        measurements = earlier_measurements(connection, *registered_sweep(connection))
        corpus = read_corpus(connection, 1).scaled(fleet.rows)
        presets = {p.preset: p for p in build_report(connection, measurements, corpus).presets}
    projected = [name for name, preset in presets.items() if preset.projection]
    rates = {}
    for name in fleet.presets:
        preset = presets.get(name)
        if preset is None:
            raise UserError(
                f"Preset {name} was not measured in the registered sweep. Measured: {', '.join(projected) or 'none'}. "
                "Measure it with `sum-assets benchmark`, or give abstracts_per_second and its source."
            )
        projection = preset.projection
        if projection is None:
            raise UserError(f"Preset {name} has no rate: {preset.outcome}. {preset.detail}")
        if len(preset.settings["devices"]) > 1 or preset.settings["ray_address"]:
            raise UserError(
                f"Preset {name} was measured on several devices at once, but a fleet counts single devices. "
                "Name a preset of one device."
            )
        load = projection.phases["load_model"]
        rates[name] = Rate(
            preset=name,
            abstracts_per_second=projection.rows / (projection.seconds - load),
            load_seconds=load / corpus.runs,
            batch_size=preset.settings["batch_size"],
            # A 95 % interval has two standard deviations of the logarithm to each side.
            uncertainty=math.log(projection.high / projection.low) / 4 if projection.low and projection.high else None,
        )
    return rates
