"""Rates that were measured: of devices for a simulation, and of a run for the size of its ID ranges."""

import math
from dataclasses import dataclass

from psycopg import Connection

from sum_assets.benchmark.build_report import build_report
from sum_assets.benchmark.corpus_lengths import read_corpus
from sum_assets.benchmark.run_sweep import earlier_measurements, registered_sweep
from sum_assets.database import schema
from sum_assets.database.connection import connect
from sum_assets.database.run_rate import RunRate, recent_rate
from sum_assets.errors import UserError
from sum_assets.simulation.fleet import Fleet, Rate
from sum_assets.units import counted


@dataclass(frozen=True, slots=True)
class RangeRate:
    """Abstracts per second of one run, without loading the model, and what measured them."""

    per_second: float
    source: str


def range_rate(connection: Connection) -> RangeRate:
    """Return the rate of the latest runs, each by itself; where none ran, that of the benchmark's winner.

    Raises UserError where nothing was measured.
    """
    if recent := recent_rate(connection):
        number = counted(recent.ranges, "range")
        return RangeRate(recent.per_second_of_a_run, f"runs over {number} with {_configuration(connection, recent)}")
    try:
        measurements = earlier_measurements(connection, *registered_sweep(connection))
        report = build_report(connection, measurements, read_corpus(connection, 1))
        if report.winner is None or report.winner.projection is None:
            raise UserError(report.sentence)
    except UserError as error:
        raise UserError(
            "No rate was measured to cut ranges by: `sum-assets benchmark` measures one, and so does any run. "
            f"The benchmark says: {error}"
        ) from error
    return RangeRate(report.winner.projection.per_second, f"the preset {report.winner.description()}")


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
        rates[name] = Rate(
            preset=name,
            abstracts_per_second=projection.per_second,
            load_seconds=projection.backfill.load_seconds,
            batch_size=preset.settings["batch_size"],
            # A 95 % interval has two standard deviations of the logarithm to each side.
            uncertainty=math.log(projection.high / projection.low) / 4 if projection.low and projection.high else None,
        )
    return rates


def _configuration(connection: Connection, rate: RunRate) -> str:
    """Return the settings that a rate was measured with, as far as they matter to it, and their fingerprint."""
    query = "SELECT settings FROM sum_assets.summarizer_config WHERE fingerprint = %s"
    (settings,) = connection.execute(query, [rate.fingerprint]).fetchone() or ({},)
    names = ("engine", "precision", "quantization", "model") if "precision" in settings else ("engine",)
    known = [str(settings[name]) for name in names if settings.get(name) not in (None, "none")]
    return f"fingerprint {rate.fingerprint} ({', '.join(known)})"
