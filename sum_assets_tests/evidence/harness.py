"""What the proofs and comparisons share: the command line in a process, a folder to work in, results in out/."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

OUT = Path("out")


def run_command(*arguments: str) -> None:
    """Run `sum-assets` with these arguments. Raises CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "sum_assets.cli.main", *arguments], check=True)


def run_in_folder(main: Callable[[Path], None]) -> None:
    """Call `main` with the folder that the command line names, or else with a temporary one."""
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
        return
    with TemporaryDirectory(prefix="sum_assets_") as folder:
        main(Path(folder))


def write_results(name: str, results: Any, indent: int = 2) -> None:
    """Write results to out/NAME.json."""
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(results, indent=indent))
