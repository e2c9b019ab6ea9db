"""The command `simulate`: a full run over a fleet of devices, simulated."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from sum_assets.cli.console import out, writing
from sum_assets.errors import UserError
from sum_assets.paths import shipped
from sum_assets.simulation.fleet import Fleet, read_fleet
from sum_assets.units import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sum_assets.simulation.monte_carlo import Simulation

app = typer.Typer()


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="A fleet file, such as fleets/four-k80.yaml.")],
    rows: Annotated[int | None, typer.Option(help="Number of abstracts, instead of the file's.", min=1)] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="Numbers of devices to compare: 1,2,4. If the file has several kinds, name one: k80=1,2,4."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw one of the runs to FILE.png or FILE.svg; with --devices, days against devices."),
    ] = None,
) -> None:
    """Simulate a full run over a fleet (Monte Carlo): days, idle share and lost work.

    Its rates are measured or assumed; for assumed ones the file must cite a source.
    """
    from sum_assets.simulation.monte_carlo import simulate as simulate_fleet

    if plot and plot.suffix not in (".png", ".svg"):
        raise UserError(f"{plot} is not a valid name for a plot. Use FILE.png or FILE.svg.")
    fleet = read_fleet(shipped(file))
    kind, counts = _counts(fleet, devices) if devices else ("", [])
    if rows:
        fleet = fleet.model_copy(update={"rows": rows})
    if fleet.presets:
        # Imported here: a fleet with its own rates needs no database.
        from sum_assets.cli.measured_rates import measured_rates

        fleet = fleet.with_rates(measured_rates(fleet))
    if counts:
        _compare(fleet, kind, counts, as_json, plot)
        return
    simulation = simulate_fleet(fleet)
    if plot:
        from sum_assets.simulation.gantt import draw_gantt

        title = f"{simulation.rows:,} abstracts, one run of {simulation.repetitions}{_caution(simulation)}"
        _save(draw_gantt(fleet, simulation.example, title), plot)
    if as_json:
        print(json.dumps(simulation.as_json(), indent=2))
    else:
        _print(simulation)


def _counts(fleet: Fleet, text: str) -> tuple[str, list[int]]:
    """Return the kind of device whose number changes, and the numbers. Raises UserError for anything else."""
    kind, _, numbers = text.rpartition("=")
    if not kind and len(fleet.devices) == 1:
        kind = next(iter(fleet.devices))
    if kind not in fleet.devices:
        kinds = list(fleet.devices)
        raise UserError(f"--devices: name one kind of {', '.join(kinds)}, as in {kinds[0]}=1,2,4.")
    counts = [int(n) if n.strip().isdecimal() else 0 for n in numbers.split(",")]
    if min(counts) < 1:
        raise UserError(
            f"--devices: {numbers!r} is not valid. Expected whole numbers from 1, separated by commas: 1,2,4."
        )
    return kind, counts


def _compare(fleet: Fleet, kind: str, counts: list[int], as_json: bool, plot: Path | None) -> None:
    from sum_assets.simulation.scaling import draw_scaling, simulate_counts

    points = simulate_counts(fleet, kind, counts)
    first = points[0].simulation
    if plot:
        title = f"{first.rows:,} abstracts in ranges of {fleet.rows_per_range:,}{_caution(first)}"
        _save(draw_scaling(points, kind, title), plot)
    if as_json:
        print(json.dumps([point.as_json() for point in points], indent=2))
        return
    columns = ("days", "5 to 95 %", "perfect", "idle", "device days")
    table = Table(f"devices ({kind})", *(Column(name, justify="right") for name in columns), box=SIMPLE, padding=0)
    for point in points:
        simulation, days = point.simulation, point.simulation.days
        total = sum(group.count for group in simulation.groups)
        table.add_row(
            f"{point.count:,}", _figure(days.median), f"{_figure(days.low)} to {_figure(days.high)}",
            _figure(point.perfect_days), f"{simulation.idle.median:.1%}", _figure(days.median * total),
        )  # fmt: skip
    out.print(table)
    out.print(
        f"{count(first.rows)} abstracts in ranges of {fleet.rows_per_range:,}; medians and 5 to 95 % of "
        f"{first.repetitions} runs. Perfect: linear scaling from {points[0].count} on.",
        markup=False, style="dim",
    )  # fmt: skip
    _print_assumptions(first)


def _figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _save(figure: "Figure", path: Path) -> None:
    with writing(path, "plot"):
        figure.savefig(path, dpi=110)


def _caution(simulation: "Simulation") -> str:
    """Return the end of a plot's title: a warning if rates are assumed."""
    return "; rates are assumed" if simulation.assumptions else ""


def _print(simulation: "Simulation") -> None:
    shown = list(simulation.groups[0].shares)
    table = Table(
        "devices", *(Column(name, justify="right") for name in ("abstracts/s each", "abstracts each", *shown)),
        box=SIMPLE, padding=0,
    )  # fmt: skip
    for g in simulation.groups:
        rate = f"{g.abstracts_per_second:.3g}{' *' if g.assumed else ''}"
        shares = (f"{g.shares[kind]:.2%}" for kind in shown)
        table.add_row(f"{g.count} {g.name}", rate, f"{g.rows_per_device:,.0f}", *shares)
    out.print(table)
    out.print(simulation.sentence, markup=False, style="bold")
    tail, lost = simulation.tail_hours, simulation.lost_hours
    out.print(
        f"Medians and 5 to 95 % of {simulation.repetitions} runs. The tail, from the first device without work to the "
        f"end: {tail.median:.2g} h ({tail.low:.2g} to {tail.high:.2g}). Lost batches: {lost.median:.2g} device hours.",
        markup=False, style="dim",
    )  # fmt: skip
    _print_assumptions(simulation)


def _print_assumptions(simulation: "Simulation") -> None:
    for line in simulation.assumptions:
        out.print(f"* assumed, not measured: {line}", markup=False)
