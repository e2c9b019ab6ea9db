"""The project's definitions for the backfill cases: slowed between batches, with steps that start quickly."""

import os
from typing import Any

import dagster as dg

from sum_assets.database import processes
from sum_assets_tests.faults.deployment import BOOT

_boot = os.environ.get(BOOT)
if _boot:
    processes.boot_id = lambda: _boot  # type: ignore[assignment]

_executor: Any = dg.multiprocess_executor
_configured = _executor.configured
# Each step still has its own process, forked from one that has imported everything.
_forked = {"start_method": {"forkserver": {"preload_modules": ["sum_assets_tests.faults.slow_definitions"]}}}
_executor.configured = lambda config, **options: _configured(lambda value: {**config(value), **_forked}, **options)

from sum_assets.defs.definitions import defs  # noqa: E402
from sum_assets_tests.faults import patches  # noqa: E402
from sum_assets_tests.faults.cases import PAUSE  # noqa: E402

patches.count_and_slow(2 * PAUSE)

__all__ = ["defs"]
