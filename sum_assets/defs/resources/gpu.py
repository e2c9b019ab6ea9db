"""The device, as run configuration."""

from typing import Any

import dagster as dg

from sum_assets.summarizer import GpuSettings


class GpuResource(GpuSettings, dg.ConfigurableResource[Any]):
    """How the device is used: chosen per run, the same in single runs and backfills."""

    def settings(self) -> GpuSettings:
        """Return the settings alone."""
        return GpuSettings.of(self)
