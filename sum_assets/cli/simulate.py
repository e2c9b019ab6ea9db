"""The command that plays a full run over a fleet of devices."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from sum_assets.cli.console import err, out, shipped
from sum_assets.errors import UserError
from sum_assets.simulation.fleet import Fleet, Rate, read_fleet
from sum_assets.units import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sum_assets.simulation.summary import Simulation

app = typer.Typer()


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="A fleet file, such as fleets/four-k80.yaml.")],
    rows: Annotated[int | None, typer.Option(help="Abstracts, instead of the file's.", min=1)] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="Other numbers of devices to compare: 1,2,4; of several kinds, name one: k80=1,2,4."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw one of the runs, or with --devices days against devices: FILE.png or FILE.svg."),
    ] = None,
) -> None:
    """Play a full run over a fleet: days, idle share and lost work, from measured or assumed rates."""
    from sum_assets.simulation.summary import simulate as play_often

    if plot and plot.suffix not in (".png", ".svg"):
        raise UserError(f"A plot is FILE.png or FILE.svg, not {plot}.")
    fleet = read_fleet(shipped(file))
    kind, counts = _counts(fleet, devices) if devices else ("", [])
    if rows:
        fleet = fleet.model_copy(update={"rows": rows})
    if fleet.presets:
        fleet = fleet.with_rates(_measured_rates(fleet))
    if counts:
        _compare(fleet, kind, counts, as_json, plot)
        return
    found = play_often(fleet)
    if plot:
        from sum_assets.simulation.gantt import gantt

        title = f"{found.rows:,} abstracts, one run of {found.repetitions}{_caution(found)}"
        _save(gantt(fleet, found.example, title), plot)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)


def _measured_rates(fleet: Fleet) -> dict[str, Rate]:
    """Return what the projections of the registered sweep say of the presets. Raises UserError where they lack one."""
    from sum_assets.benchmark.report import corpus_of, report
    from sum_assets.benchmark.run import measured_so_far, registered_sweep
    from sum_assets.database import schema
    from sum_assets.database.connection import connect

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


def _counts(fleet: Fleet, text: str) -> tuple[str, list[int]]:
    """Return the kind of device whose number changes, and the numbers. Raises UserError for what is none."""
    kind, _, numbers = text.rpartition("=")
    if not kind and len(fleet.devices) == 1:
        kind = next(iter(fleet.devices))
    if kind not in fleet.devices:
        kinds = list(fleet.devices)
        raise UserError(f"--devices: name one kind of {', '.join(kinds)}, as in {kinds[0]}=1,2,4.")
    counts = [int(n) if n.strip().isdecimal() else 0 for n in numbers.split(",")]
    if min(counts) < 1:
        raise UserError(f"--devices: {numbers!r} are no numbers from 1 on, separated by commas.")
    return kind, counts


def _compare(fleet: Fleet, kind: str, counts: list[int], as_json: bool, plot: Path | None) -> None:
    from sum_assets.simulation.scaling import scale, scaling

    points = scale(fleet, kind, counts)
    first = points[0].simulation
    if plot:
        title = f"{first.rows:,} abstracts in ranges of {fleet.rows_per_range:,}{_caution(first)}"
        _save(scaling(points, kind, title), plot)
    if as_json:
        print(json.dumps([point.as_json() for point in points], indent=2))
        return
    columns = ("days", "5 to 95 %", "perfect", "idle", "device days")
    table = Table(f"devices ({kind})", *(Column(name, justify="right") for name in columns), box=SIMPLE, padding=0)
    for point in points:
        found, days = point.simulation, point.simulation.days
        total = sum(group.count for group in found.groups)
        table.add_row(
            f"{point.count:,}", _figure(days.median), f"{_figure(days.low)} to {_figure(days.high)}",
            _figure(point.perfect_days), f"{found.idle.median:.1%}", _figure(days.median * total),
        )  # fmt: skip
    out.print(table)
    out.print(
        f"{count(first.rows)} abstracts in ranges of {fleet.rows_per_range:,}; medians and 5 to 95 % of "
        f"{first.repetitions} runs. Perfect: as {points[0].count} would, if each device more were as good.",
        markup=False, style="dim",
    )  # fmt: skip
    _print_assumptions(first)


def _figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _save(figure: "Figure", path: Path) -> None:
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise UserError(f"The plot cannot be written: {error}") from error
    err.print(f"written to {path}", markup=False)


def _caution(found: "Simulation") -> str:
    """Return what a plot's title ends with where its rates were not measured."""
    return "; rates are assumed" if found.assumptions else ""


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
    _print_assumptions(found)


def _print_assumptions(found: "Simulation") -> None:
    for line in found.assumptions:
        out.print(f"* assumed, not measured: {line}", markup=False)
