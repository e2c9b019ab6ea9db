"""The commands of this machine: its embedded server, its engines' environments, its devices."""

import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sum_assets.cli.console import out
from sum_assets.database import embedded, schema
from sum_assets.database.connection import connect
from sum_assets.database.device_losses import reset as reset_devices
from sum_assets.paths import DEMO_VARIABLE, base_dir, demo_dir, home, postgres_dir
from sum_assets.summarizer import engine_environments as environments

if TYPE_CHECKING:
    from sum_assets.summarizer.types import Device

db = typer.Typer(no_args_is_help=True, help="Start and stop the embedded PostgreSQL server.")
engine = typer.Typer(no_args_is_help=True, help="Install engines that need an environment of their own.")
devices = typer.Typer(no_args_is_help=True, help="Manage the devices of this machine.")


@db.command()
def start() -> None:
    """Start the embedded server, created on first use. It runs until `db stop`.

    With SUM_ASSETS_DEMO=1 it is the demo's server.
    """
    folder = demo_dir() if os.environ.get(DEMO_VARIABLE) else base_dir()
    out.print(embedded.start(postgres_dir(folder)), markup=False, soft_wrap=True)


@db.command()
def stop() -> None:
    """Stop the embedded server in use: your own, or the demo's if there is no other."""
    data = postgres_dir(home())
    out.print(f"stopped {data}" if embedded.stop(data) else f"{data} was not running")


@engine.command()
def install(
    name: Annotated[str, typer.Argument(help="openvino (CPU) or vllm (causal models).")],
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: cuda if the first CUDA device can run it, else cpu.")
    ] = "auto",
) -> None:
    """Install or replace an engine's environment. It takes minutes and gigabytes."""
    kind = environments.choose_kind(name, _first_device) if device == "auto" else device
    with out.status(f"installing {name}") as status:
        environments.install(name, kind, lambda line: status.update(escape(line[: out.width - 4])))
    versions = ", ".join(f"{library} {version}" for library, version in environments.versions_of(name).items())
    out.print(f"engine {name} is installed: {versions}", markup=False)


def _first_device() -> "Device":
    from sum_assets.summarizer.devices import find_device  # imports torch

    return find_device("auto")


@devices.command()
def reset() -> None:
    """Use quarantined devices of this machine again. A device is quarantined after repeated losses."""
    with connect() as connection:
        schema.require_schema(connection)
        names = reset_devices(connection)
    out.print(
        f"in use again: {', '.join(names)}" if names else "no device of this machine is quarantined", markup=False
    )
