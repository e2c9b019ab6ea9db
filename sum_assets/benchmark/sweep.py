"""Reads a sweep file: named presets or a grid of them, and how to measure them."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sum_assets.checked_yaml import line_of, parse_checked, read_checked
from sum_assets.errors import UserError
from sum_assets.summarizer import GpuSettings, SummarizerSettings

BASELINE = "baseline"
REFERENCE = "reference"


class Preset(GpuSettings):
    """GPU settings with a name. `naive` is the loop that every speed-up is measured against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    naive: bool = Field(
        default=False,
        description="Summarize one abstract at a time, padded to the input limit, each with its own INSERT and COMMIT.",
    )
    memory_limit_mib: int | None = Field(
        default=None,
        ge=1,
        description="Limit of the process's address space, in MiB: the memory that it must fit into on a CPU.",
    )


class Grid(BaseModel):
    """Presets by combination: every value of every axis with every value of the others."""

    model_config = ConfigDict(extra="forbid")

    axes: dict[str, list[Any]]
    exclude: list[dict[str, Any]] = []
    include: list[dict[str, Any]] = []

    @field_validator("axes")
    @classmethod
    def _known_axes(cls, axes: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for axis in axes:
            if axis not in Preset.model_fields:
                raise ValueError(f"no axis {axis}. The axes are: {', '.join(Preset.model_fields)}")
        return axes

    def combinations(self) -> list[dict[str, Any]]:
        """Return the settings of every preset: all combinations, less those excluded, plus those included."""
        every = [dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())]
        kept = [one for one in every if not any(excluded.items() <= one.items() for excluded in self.exclude)]
        return kept + self.include


class Sweep(BaseModel):
    """What to measure, and how.

    Two presets are always part of it: `baseline`, the naive loop, and `reference`, full precision. The texts of all
    others are compared with the reference's. A sweep may define either itself, to choose its device or batch size.
    """

    model_config = ConfigDict(extra="forbid")

    sample: int = Field(
        default=64, ge=1, description="Number of abstracts, from the whole corpus, that each preset summarizes."
    )
    baseline_sample: int = Field(default=16, ge=1, description="How many of them the naive loop summarizes.")
    warm_up: int = Field(default=2, ge=0, description="Number of other abstracts, summarized before the clock starts.")
    replicates: int = Field(default=3, ge=1, description="How often each preset is measured, all presets in turn.")
    time_limit: float = Field(default=1800, gt=0, description="Seconds for one replicate, loading included.")
    price_per_hour: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="Price of one device for an hour, in any currency."
    )
    presets: dict[str, Preset] = {}
    grid: Grid | None = None

    @field_validator("presets")
    @classmethod
    def _roles(cls, presets: dict[str, Preset]) -> dict[str, Preset]:
        for name, preset in presets.items():
            if preset.naive != (name == BASELINE):
                raise ValueError("set naive for the preset baseline, and for no other")
            if preset.naive and (preset.devices or preset.workers_per_device > 1 or preset.ray_address):
                raise ValueError("baseline has one worker: leave out devices, workers_per_device and ray_address")
        reference = presets.get(REFERENCE)
        if reference and (reference.precision, reference.quantization) != ("float32", "none"):
            raise ValueError("reference is full precision: set precision float32, and no quantization")
        return presets

    def all_presets(self) -> dict[str, Preset]:
        """Return baseline, reference, the named presets, and those of the grid, which are named by their settings.

        Raises ValueError where a combination of the grid is not a valid preset.
        """
        presets = {
            BASELINE: Preset(precision="float32", batch_size=1, attention="eager", naive=True),
            REFERENCE: Preset(precision="float32", batch_size=16),
            **self.presets,
        }
        for settings in self.grid.combinations() if self.grid else []:
            name = "-".join(str(value).replace(":", "") for value in settings.values())
            try:
                presets.setdefault(name, Preset.model_validate(settings))
            except ValidationError as error:
                raise ValueError(f"grid: {settings} is not a valid preset: {error.errors()[0]['msg']}") from error
        return presets

    def require_presets(self, names: Iterable[str]) -> None:
        """Raise UserError for a preset that the sweep does not have."""
        presets = self.all_presets()
        if unknown := sorted(set(names) - set(presets)):
            raise UserError(f"The sweep has no preset {', '.join(unknown)}. It has: {', '.join(presets)}.")


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep file. Raises a UserError that names the line of a mistake."""
    return _with_presets(*read_checked(path, Sweep, "sweep"), str(path))


def parse_sweep(text: str, name: str) -> Sweep:
    """Check the text of a sweep file, which errors call `name`. Raises a UserError that names the line of a mistake."""
    return _with_presets(*parse_checked(text, name, Sweep, "sweep"), name)


def _with_presets(sweep: Sweep, tree: yaml.Node | None, name: str) -> Sweep:
    try:
        sweep.all_presets()
    except ValueError as error:
        raise UserError(f"{name}, line {line_of(tree, ('grid',))}: {error}") from error
    return sweep


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Summarizer(SummarizerSettings):
    model_config = ConfigDict(frozen=True, protected_namespaces=(), extra="forbid")


class _Configured(_Strict):
    config: _Summarizer


class _Resources(_Strict):
    summarizer: _Configured


class _RunConfiguration(_Strict):
    resources: _Resources


def read_summarizer(path: Path, default: SummarizerSettings) -> SummarizerSettings:
    """Read the model's settings from a run configuration, the others by default. Raises UserError where it has more."""
    try:
        configuration, _ = read_checked(path, _RunConfiguration, "configuration")
    except UserError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        raise UserError(
            f"{error}. A sweep takes the model of a run configuration, and nothing else: `resources: {{summarizer: "
            "{config: {model: ...}}}`. The settings of `gpu` are those of its presets."
        ) from error
    changes = configuration.resources.summarizer.config.model_dump(exclude_unset=True)
    return SummarizerSettings.model_validate(default.model_dump() | changes)
