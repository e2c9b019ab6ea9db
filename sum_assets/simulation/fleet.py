"""Reads a fleet file: devices with their rates, how they fail, and what a run costs beside its batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sum_assets.checked_yaml import read_checked
from sum_assets.units import LAB_CORPUS


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Crashes(_Part):
    """A run dies and its device does not: a killed process, a lost context. Poisson, or at given moments."""

    every_hours: float | None = Field(default=None, gt=0, description="Mean hours between them, for each device.")
    at_hours: tuple[float, ...] = Field(default=(), description="Moments since the start, on the group's first device.")
    noticed_within_seconds: float = Field(
        default=150, ge=0, description="Dagster looks after runs every 120 s; a run that died costs up to so much."
    )


class Outages(_Part):
    """A host goes away with all its devices, and comes back. Poisson."""

    every_hours: float = Field(gt=0, description="Mean hours between them, for each host.")
    repair_hours: float = Field(ge=0, description="Until it is back.")
    noticed_within_seconds: float = Field(
        default=300, ge=0, description="Until its range can be taken up elsewhere: monitoring, and the lease's 90 s."
    )


class Group(_Part):
    """Devices of one kind. Their rate is that of a measured preset, or given, and then said to be from where."""

    count: int = Field(ge=1, description="Devices.")
    per_host: int = Field(default=1, ge=1, description="Devices of one host, which go away together.")
    preset: str | None = Field(default=None, description="A preset of the registered sweep, measured on this device.")
    abstracts_per_second: float | None = Field(default=None, gt=0, description="Of one device, the model loaded.")
    load_seconds: float = Field(default=0, ge=0, description="To load the model, in each run.")
    batch_size: int = Field(default=16, ge=1, description="Abstracts that are committed together.")
    measured: str | None = Field(default=None, description="By whom and how the rate was measured.")
    assumption: str | None = Field(default=None, description="Whence the rate, where nobody has measured it.")
    uncertainty: float = Field(default=0.06, ge=0, lt=2, description="Of the rate itself, as a share; once for all.")
    spread: float = Field(default=0, ge=0, lt=2, description="Between devices of the group, as a share.")
    run_noise: float = Field(default=0.03, ge=0, lt=2, description="Between runs on one device, as a share.")
    batch_noise: float = Field(default=0.15, ge=0, lt=2, description="Between batches of one run, as a share.")
    crashes: Crashes | None = None
    outages: Outages | None = None

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.preset is None) == (self.abstracts_per_second is None):
            raise ValueError("give either preset or abstracts_per_second")
        if self.preset is None and (self.measured is None) == (self.assumption is None):
            raise ValueError("say where abstracts_per_second is from: either measured or assumption, in a sentence")
        if self.preset and (self.measured or self.assumption):
            raise ValueError("a preset's rate is from the database: leave out measured and assumption")
        return self


class Runs(_Part):
    """What Dagster takes, in seconds. The defaults are those of `dagster.yaml` and of a machine that is not slow."""

    backfill: float = Field(default=15, ge=0, description="From asking for the backfill to its first run in the queue.")
    submit: float = Field(default=1, ge=0, description="From one run in the queue to the next.")
    poll: float = Field(default=5, ge=0, description="Between two looks at the queue for a free slot.")
    start: float = Field(default=20, ge=0, description="Processes and imports, and the look at the range.")
    finish: float = Field(default=8, ge=0, description="From the last commit to the end of the run: publishing.")


class Fleet(_Part):
    """A full run over some devices, and how often to play it."""

    rows: int = Field(default=LAB_CORPUS, ge=1, description="Abstracts.")
    rows_per_range: int = Field(default=10_000, ge=1, description="Of each ID range, which is one run.")
    repetitions: int = Field(default=200, ge=1, description="Times to play it.")
    seed: int = Field(default=0, ge=0, description="Equal seeds give equal answers.")
    runs: Runs = Runs()
    devices: dict[str, Group] = Field(min_length=1)

    @property
    def presets(self) -> list[str]:
        """The presets whose rates must come from the database."""
        return [group.preset for group in self.devices.values() if group.preset]

    def sizes(self) -> list[int]:
        """Return the abstracts of each range: equal, but for the last."""
        whole, rest = divmod(self.rows, self.rows_per_range)
        return [self.rows_per_range] * whole + ([rest] if rest else [])

    @property
    def abstracts_per_second(self) -> float:
        """What all devices do together, once presets have their rates."""
        return sum(group.count * (group.abstracts_per_second or 0) for group in self.devices.values())

    def with_rates(self, rates: dict[str, "Rate"]) -> "Fleet":
        """Return the fleet with measured rates in the place of presets; what the file says itself stays."""
        devices = dict(self.devices)
        for name, group in devices.items():
            if group.preset:
                own = group.model_dump(exclude_unset=True, exclude_none=True)
                known = {field: value for field, value in rates[group.preset].said().items() if field not in own}
                devices[name] = group.model_copy(update=known | {"preset": None})
        return self.model_copy(update={"devices": devices})

    def with_count(self, kind: str, count: int) -> "Fleet":
        """Return the fleet with so many devices of one kind."""
        group = self.devices[kind].model_copy(update={"count": count})
        return self.model_copy(update={"devices": self.devices | {kind: group}})


@dataclass(frozen=True, slots=True)
class Rate:
    """What a preset's projection knows of a device."""

    preset: str
    abstracts_per_second: float
    load_seconds: float
    batch_size: int
    uncertainty: float | None

    def said(self) -> dict[str, object]:
        """Return the fields of a group; without a second measurement nothing is known of the uncertainty."""
        fields = {name: getattr(self, name) for name in ("abstracts_per_second", "load_seconds", "batch_size")}
        known = {} if self.uncertainty is None else {"uncertainty": self.uncertainty}
        return fields | known | {"measured": f"preset {self.preset} of the registered sweep, for the corpus's lengths"}


def read_fleet(path: Path) -> Fleet:
    """Read and check a fleet file. Raises UserError that names the line of what is wrong."""
    return read_checked(path, Fleet, "fleet")[0]
