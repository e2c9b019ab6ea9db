"""The project's definitions, slowed: what the code server of the backfill cases loads."""

from sum_assets.definitions import defs
from sum_assets_tests.faults import patches
from sum_assets_tests.faults.cases import PAUSE

patches.count_and_slow(2 * PAUSE)

__all__ = ["defs"]
