"""Reads a fleet file: devices with their rates, how they fail, and what a run takes beside its batches."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sum_assets.backfill_time import (
    FINISH_SECONDS,
    RANGE_SECONDS,
    ROWS_PER_RANGE,
    START_SECONDS,
    WORK_RANGE_SECONDS,
    ranges_in_run,
)
from sum_assets.checked_yaml import read_checked
from sum_assets.units import LAB_CORPUS


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Crashes(_Section):
    """A run fails but its device stays: a killed process, a lost context. A Poisson process, or at given times."""

    every_hours: float | None = Field(default=None, gt=0, description="Mean hours between crashes, for each device.")
    at_hours: tuple[float, ...] = Field(
        default=(), description="Hours since the start, on the first device of the group."
    )
    noticed_within_seconds: float = Field(
        default=150, ge=0, description="Longest time until Dagster notices. It checks its runs every 120 s."
    )


class Outages(_Section):
    """A host fails with all its devices, and comes back. A Poisson process."""

    every_hours: float = Field(gt=0, description="Mean hours between outages, for each host.")
    repair_hours: float = Field(ge=0, description="Hours until the host is back.")
    noticed_within_seconds: float = Field(
        default=300,
        ge=0,
        description="Longest time until another device can take the run: monitoring, and the 90 s of its lease.",
    )


class Group(_Section):
    """Devices of one kind. Their rate is that of a measured preset, or given in the file together with its source.

    Each repetition draws the error of the rate once for the group, `spread` for each device, `run_noise` for each of
    its runs, and `batch_noise` for each batch.
    """

    count: int = Field(ge=1, description="Number of devices.")
    per_host: int = Field(
        default=1, ge=1, description="Number of devices in one host, which fail together in an outage."
    )
    preset: str | None = Field(default=None, description="A preset of the registered sweep, measured on this device.")
    abstracts_per_second: float | None = Field(
        default=None, gt=0, description="Rate of one device, without loading the model."
    )
    load_seconds: float = Field(default=0, ge=0, description="Seconds to load the model, in each run.")
    batch_size: int = Field(default=16, ge=1, description="Number of abstracts that are committed together.")
    measured: str | None = Field(default=None, description="Source of a measured rate: who measured it, and how.")
    assumption: str | None = Field(default=None, description="Source of an assumed rate that nobody measured.")
    uncertainty: float = Field(default=0.06, ge=0, lt=2, description="Relative standard error of the rate.")
    spread: float = Field(default=0, ge=0, lt=2, description="Relative standard deviation between devices.")
    run_noise: float = Field(default=0.03, ge=0, lt=2, description="Relative standard deviation between runs.")
    batch_noise: float = Field(default=0.15, ge=0, lt=2, description="Relative standard deviation between batches.")
    crashes: Crashes | None = None
    outages: Outages | None = None

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.preset is None) == (self.abstracts_per_second is None):
            raise ValueError("give either preset or abstracts_per_second")
        if self.preset is None and (self.measured is None) == (self.assumption is None):
            raise ValueError("cite the source of abstracts_per_second in a sentence: either measured or assumption")
        if self.preset and (self.measured or self.assumption):
            raise ValueError("a preset's rate is from the database: leave out measured and assumption")
        return self


#: What `sum-assets work` takes in place of a backfill: it has no queue, and its process goes on to the next range.
_WORK = {"backfill": 0.0, "submit": 0.0, "poll": 0.0, "per_range": WORK_RANGE_SECONDS, "finish": 0.0}


class Runs(_Section):
    """Seconds that Dagster takes. The defaults are those of `dagster.yaml`, on a machine that is not slow."""

    work: bool = Field(
        default=False,
        description="`sum-assets work` on each device, no backfill: it starts and loads the model once, and takes one "
        "range after the other. The defaults of the seconds are then its own.",
    )
    backfill: float = Field(
        default=15, ge=0, description="From the request of the backfill to its first run in the queue."
    )
    submit: float = Field(default=1, ge=0, description="From one run in the queue to the next.")
    poll: float = Field(default=5, ge=0, description="Between two checks of the queue.")
    start: float = Field(
        default=START_SECONDS, ge=0, description="From the launch of a run to loading the model: processes, imports."
    )
    per_range: float = Field(
        default=RANGE_SECONDS, ge=0, description="For each ID range: its profile, counts and publication."
    )
    finish: float = Field(default=FINISH_SECONDS, ge=0, description="From the last commit to the end of the run.")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_work(cls, data: Any) -> Any:
        return _WORK | data if isinstance(data, dict) and data.get("work") is True else data


class Fleet(_Section):
    """A full run over some devices, and how often to simulate it."""

    rows: int = Field(default=LAB_CORPUS, ge=1, description="Number of abstracts.")
    rows_per_range: int = Field(default=ROWS_PER_RANGE, ge=1, description="Number of abstracts in each ID range.")
    ranges_per_run: int | None = Field(
        default=None,
        ge=1,
        description="Number of ID ranges in each run. Default: as many as take five minutes, and one of `work`.",
    )
    repetitions: int = Field(default=200, ge=1, description="How often to simulate the run.")
    seed: int = Field(default=0, ge=0, description="Seed of the random numbers. Equal seeds give equal results.")
    runs: Runs = Runs()
    devices: dict[str, Group] = Field(min_length=1)

    @property
    def presets(self) -> list[str]:
        """The presets whose rates must come from the database."""
        return [group.preset for group in self.devices.values() if group.preset]

    def ranges_in_run(self) -> int:
        """Return how many ID ranges a run takes: as the file says, else 1 of `work`, or by the rate, as a backfill."""
        ranges = math.ceil(self.rows / self.rows_per_range)
        if self.ranges_per_run:
            return min(self.ranges_per_run, ranges)
        if self.runs.work:
            return 1
        devices = sum(group.count for group in self.devices.values())
        return ranges_in_run(self.rows_per_range * devices / self.abstracts_per_second, ranges, devices)

    def sizes(self) -> list[int]:
        """Return the abstracts of each run, of equal ones but for the last."""
        rows = self.rows_per_range * self.ranges_in_run()
        whole, rest = divmod(self.rows, rows)
        return [rows] * whole + ([rest] if rest else [])

    @property
    def abstracts_per_second(self) -> float:
        """The rate of all devices together, once presets have their rates."""
        return sum(group.count * (group.abstracts_per_second or 0) for group in self.devices.values())

    def with_rates(self, rates: dict[str, "Rate"]) -> "Fleet":
        """Return the fleet with measured rates in place of its presets; what the file sets itself stays."""
        devices = dict(self.devices)
        for name, group in devices.items():
            if group.preset:
                in_file = group.model_dump(exclude_unset=True, exclude_none=True)
                measured = {k: v for k, v in rates[group.preset].group_fields().items() if k not in in_file}
                devices[name] = group.model_copy(update=measured | {"preset": None})
        return self.model_copy(update={"devices": devices})

    def with_count(self, kind: str, count: int) -> "Fleet":
        """Return the fleet with `count` devices of one kind."""
        group = self.devices[kind].model_copy(update={"count": count})
        return self.model_copy(update={"devices": self.devices | {kind: group}})


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate of a device, by the projection of a measured preset; `uncertainty` is None without replicates."""

    preset: str
    abstracts_per_second: float
    load_seconds: float
    batch_size: int
    uncertainty: float | None

    def group_fields(self) -> dict[str, object]:
        """Return the fields that it sets in a group."""
        fields = {name: getattr(self, name) for name in ("abstracts_per_second", "load_seconds", "batch_size")}
        uncertainty = {} if self.uncertainty is None else {"uncertainty": self.uncertainty}
        return (
            fields
            | uncertainty
            | {"measured": f"preset {self.preset} of the registered sweep, for the corpus's lengths"}
        )


def read_fleet(path: Path) -> Fleet:
    """Read and check a fleet file. Raises a UserError that names the line of a mistake."""
    return read_checked(path, Fleet, "fleet")[0]
