"""The command that plays a full run over a fleet of devices."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from sum_assets.benchmark.fleet import Fleet, Rate, read_fleet
from sum_assets.console import err, out
from sum_assets.errors import UserError

if TYPE_CHECKING:
    from sum_assets.benchmark.simulation import Simulation

app = typer.Typer()


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="A fleet file, such as fleets/four-k80.yaml.")],
    rows: Annotated[int | None, typer.Option(help="Abstracts, instead of the file's.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw one of the runs: FILE.png or FILE.svg.")] = None,
) -> None:
    """Play a full run over a fleet: days, idle share and lost work, from measured or assumed rates."""
    from sum_assets.benchmark.simulation import simulate as play_often

    fleet = read_fleet(file)
    if rows:
        fleet = fleet.model_copy(update={"rows": rows})
    if fleet.presets:
        fleet = fleet.with_rates(_measured_rates(fleet))
    found = play_often(fleet)
    if plot:
        _draw(fleet, found, plot)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)


def _measured_rates(fleet: Fleet) -> dict[str, Rate]:
    """Return what the projections of the registered sweep say of the presets. Raises UserError where they lack one."""
    from sum_assets.benchmark.report import corpus_of, report
    from sum_assets.benchmark.run import measured_so_far, registered_sweep
    from sum_assets.corpus import schema
    from sum_assets.corpus.database import connect

    with connect() as connection:
        schema.require_schema(connection)
        measured = measured_so_far(connection, *registered_sweep(connection))
        corpus = corpus_of(connection, 1).scaled(fleet.rows)
        presets = {p.preset: p for p in report(connection, measured, corpus).presets}
    projected = [name for name, preset in presets.items() if preset.projection]
    found = {}
    for name in fleet.presets:
        preset = presets.get(name)
        if preset is None:
            raise UserError(
                f"Preset {name} was not measured in the registered sweep. Measured: {', '.join(projected) or 'none'}. "
                "`sum-assets benchmark` measures; or give abstracts_per_second and its source."
            )
        projection = preset.projection
        if projection is None:
            raise UserError(f"Preset {name} has no rate: {preset.outcome}. {preset.detail}")
        if len(preset.settings["devices"]) > 1 or preset.settings["ray_address"]:
            raise UserError(
                f"Preset {name} was measured on several devices at once, and a fleet counts its devices one by one. "
                "Name a preset of one device."
            )
        load = projection.phases["load_model"]
        found[name] = Rate(
            preset=name,
            abstracts_per_second=projection.rows / (projection.seconds - load),
            load_seconds=load / corpus.runs,
            batch_size=preset.settings["batch_size"],
            # The interval is one of 95 %, two standard deviations to each side of a logarithm.
            uncertainty=math.log(projection.high / projection.low) / 4 if projection.low and projection.high else None,
        )
    return found


def _draw(fleet: Fleet, found: "Simulation", path: Path) -> None:
    from sum_assets.benchmark.gantt import gantt

    if path.suffix not in (".png", ".svg"):
        raise UserError(f"A plot is FILE.png or FILE.svg, not {path}.")
    title = f"{found.rows:,} abstracts, one run of {found.repetitions}"
    if found.assumptions:
        title += "; rates are assumed"
    try:
        gantt(fleet, found.example, title).savefig(path, dpi=110)
    except OSError as error:
        raise UserError(f"The plot cannot be written: {error}") from error
    err.print(f"written to {path}", markup=False)


def _print(found: "Simulation") -> None:
    shown = list(found.groups[0].shares)
    table = Table(
        "devices", *(Column(name, justify="right") for name in ("abstracts/s each", "abstracts each", *shown)),
        box=SIMPLE, padding=0,
    )  # fmt: skip
    for g in found.groups:
        rate = f"{g.abstracts_per_second:.3g}{' *' if g.assumed else ''}"
        shares = (f"{g.shares[kind]:.2%}" for kind in shown)
        table.add_row(f"{g.count} {g.name}", rate, f"{g.rows_per_device:,.0f}", *shares)
    out.print(table)
    out.print(found.sentence, markup=False, style="bold")
    tail, lost = found.tail_hours, found.lost_hours
    out.print(
        f"Medians and 5 to 95 % of {found.repetitions} runs. From the first device without work to the end "
        f"{tail.median:.2g} h ({tail.low:.2g} to {tail.high:.2g}); lost batches took {lost.median:.2g} device hours.",
        markup=False, style="dim",
    )  # fmt: skip
    for line in found.assumptions:
        out.print(f"* assumed, not measured: {line}", markup=False)
