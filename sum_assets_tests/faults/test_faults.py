"""The quick cases of the fault suite, once each, in another process, since the suite forks its runs."""

import os
import subprocess
import sys
from pathlib import Path

from sum_assets.summarizer.device_lease import FOLDER_VARIABLE

_ROOT = Path(__file__).parents[2]


def test_nothing_is_lost_in_the_quick_cases() -> None:
    settings = {name for name in os.environ if name.startswith("SUM_ASSETS_") and name != FOLDER_VARIABLE}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    command = [sys.executable, "-m", "sum_assets_tests.faults.run", "--short"]
    ran = subprocess.run(command, env=environment, cwd=_ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
