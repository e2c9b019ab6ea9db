"""Reads a sweep file: named presets, or a grid over axes, and how to measure them."""

from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sum_assets.checked_yaml import line_of, read_checked
from sum_assets.errors import UserError
from sum_assets.summarizer import GpuSettings

BASELINE = "baseline"
REFERENCE = "reference"


class Preset(GpuSettings):
    """GPU settings under a name; `naive` is the loop that every speed-up is against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    naive: bool = Field(
        default=False, description="One at a time, padded to the input limit, one INSERT and COMMIT each."
    )
    memory_limit_mib: int | None = Field(
        default=None, ge=1, description="Address space of its process: what it is to fit into on a CPU."
    )


class Grid(BaseModel):
    """Presets by combination: every value of every axis with every other."""

    model_config = ConfigDict(extra="forbid")

    axes: dict[str, list[Any]]
    exclude: list[dict[str, Any]] = []
    include: list[dict[str, Any]] = []

    @field_validator("axes")
    @classmethod
    def _known_axes(cls, axes: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for axis in axes:
            if axis not in Preset.model_fields:
                raise ValueError(f"there is no axis {axis}; there are {', '.join(Preset.model_fields)}")
        return axes

    def combinations(self) -> list[dict[str, Any]]:
        """Return the settings of every preset of the grid, without those excluded, with those included."""
        every = [dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())]
        kept = [one for one in every if not any(excluded.items() <= one.items() for excluded in self.exclude)]
        return kept + self.include


class Sweep(BaseModel):
    """What to measure, and how.

    Two presets are always part of it: `baseline`, the naive loop, and `reference`, full precision, whose texts
    all others are held against. A sweep may name either itself, to choose its device or batch size.
    """

    model_config = ConfigDict(extra="forbid")

    sample: int = Field(default=64, ge=1, description="Abstracts of the whole corpus that each preset summarizes.")
    baseline_sample: int = Field(default=16, ge=1, description="How many of them the naive loop summarizes.")
    warm_up: int = Field(default=2, ge=0, description="Other abstracts, summarized before the clock starts.")
    replicates: int = Field(default=3, ge=1, description="Times that each preset is measured, all in turn.")
    time_limit: float = Field(default=1800, gt=0, description="Seconds for one replicate, loading included.")
    presets: dict[str, Preset] = {}
    grid: Grid | None = None

    @field_validator("presets")
    @classmethod
    def _roles(cls, presets: dict[str, Preset]) -> dict[str, Preset]:
        for name, preset in presets.items():
            if preset.naive != (name == BASELINE):
                raise ValueError("baseline, and it alone, is naive")
            if preset.naive and (preset.devices or preset.workers_per_device > 1 or preset.ray_address):
                raise ValueError("baseline is one worker: name no devices, no workers_per_device and no Ray")
        reference = presets.get(REFERENCE)
        if reference and (reference.precision, reference.quantization) != ("float32", "none"):
            raise ValueError("reference is full precision: float32, without quantization")
        return presets

    def all_presets(self) -> dict[str, Preset]:
        """Return baseline, reference, named presets and those of the grid, which are named by what they set.

        Raises ValueError where a combination of the grid is no preset.
        """
        found = {
            BASELINE: Preset(precision="float32", batch_size=1, attention="eager", naive=True),
            REFERENCE: Preset(precision="float32", batch_size=16),
            **self.presets,
        }
        for settings in self.grid.combinations() if self.grid else []:
            name = "-".join(str(value).replace(":", "") for value in settings.values())
            try:
                found.setdefault(name, Preset.model_validate(settings))
            except ValidationError as error:
                raise ValueError(f"grid: {settings} is no preset: {error.errors()[0]['msg']}") from error
        return found


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep file. Raises UserError that names the line of what is wrong."""
    sweep, tree = read_checked(path, Sweep, "sweep")
    try:
        sweep.all_presets()
    except ValueError as error:
        raise UserError(f"{path}, line {line_of(tree, ('grid',))}: {error}") from error
    return sweep
