"""What a run of the corpus can be told."""

import re
from datetime import datetime

import dagster as dg
from pydantic import Field, field_validator

from sum_assets.defs.asset_names import PILOT, PILOT_ROWS
from sum_assets.stopping import deadline

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


class CorpusConfig(dg.Config):
    """Which part of a range to summarize, until when, and what to publish."""

    limit: int | None = Field(
        default=None,
        description="Make a pilot of so many abstracts, at least 1: the first of the range by a hash of their ID. "
        "Without it: all.",
    )
    overwrite: bool = Field(default=False, description="Generate abstracts again that already have a current summary.")
    stop_at: str | None = Field(
        default=None,
        description="Stop cleanly at this time: 07:00 (the first after the launch), or an ISO date and time.",
    )
    fingerprint: str | None = Field(
        default=None,
        description="The fingerprint to publish. Without one: that of this run's `summaries`, or of the run that it "
        "retries. Where neither has any: that of the range's newest.",
    )

    @field_validator("limit")
    @classmethod
    def _at_least_one(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError(
                f"limit is at least 1, not {value}. Leave it out to take the whole range, or {PILOT_ROWS} abstracts in "
                f"the job `{PILOT}`."
            )
        return value

    @field_validator("stop_at")
    @classmethod
    def _a_time(cls, value: str | None) -> str | None:
        if value is not None:
            deadline(value, datetime.now())  # the run counts from its own launch
        return value

    @field_validator("fingerprint")
    @classmethod
    def _a_fingerprint(cls, value: str | None) -> str | None:
        if value is not None and not _FINGERPRINT.fullmatch(value):
            raise ValueError(f"fingerprint has 16 hexadecimal digits, unlike {value!r}. `sum-assets status` lists all.")
        return value

    def of_job(self, name: str) -> "CorpusConfig":
        """Return it with the limit that a job sets by itself."""
        return self.model_copy(update={"limit": PILOT_ROWS}) if name == PILOT and self.limit is None else self
