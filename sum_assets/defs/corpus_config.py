"""What a run of the corpus can be told."""

import dagster as dg
from pydantic import Field

from sum_assets.defs.asset_names import PILOT, PILOT_ROWS


class CorpusConfig(dg.Config):
    """Which part of a range to summarize, until when, and what to publish."""

    limit: int | None = Field(
        default=None,
        description="Make a pilot of so many abstracts: the first of the range by a hash of their ID. Without it: all.",
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

    def of_job(self, name: str) -> "CorpusConfig":
        """Return it with the limit that a job sets by itself."""
        return self.model_copy(update={"limit": PILOT_ROWS}) if name == PILOT and self.limit is None else self
