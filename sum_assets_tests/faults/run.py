"""Runs the fault suite: `python -m sum_assets_tests.faults.run [SEEDS] [--only WORDS] [--short]`.

Results are kept in out/faults-tries.json. A repeated run skips the tries with a result there.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

OUT = Path("out")
TRIES = OUT / "faults-tries.json"
_COUNTS = ("lost", "twice", "generated_again")


def main() -> int:
    """Run the tries that have no result yet. Return 1 if a row was lost or doubled, or if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "seeds",
        nargs="?",
        type=int,
        default=20,
        help="tries of the kills at random moments; other cases have at most 3",
    )
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--short", action="store_true", help="some quick cases, once each, without the results file")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from sum_assets_tests.faults import (  # noqa: F401  (they register their cases)
        cases,
        cases_backfill,
        cases_content,
        cases_database,
        cases_disk,
        cases_engine,
        cases_network,
        cases_process,
        cases_steps,
        cases_workers,
    )
    from sum_assets_tests.faults.sandbox import open_sandbox
    from sum_assets_tests.faults.server import Server

    console = Console(highlight=False)
    done: dict[str, Any] = json.loads(TRIES.read_text()) if TRIES.exists() and not options.short else {}
    planned = []
    for name in cases.CASES:
        if options.only in name and (name in cases.SHORT or not options.short):
            tries = 1 if options.short else options.seeds if name in cases.SEEDED else min(3, options.seeds)
            planned += [(name, seed) for seed in range(tries)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped
    server = Server()
    try:
        for name, seed in planned:
            key = f"{name} #{seed}"
            if "error" not in done.get(key, {"error": ""}):
                continue
            began = time.monotonic()
            try:
                with open_sandbox(server) as sandbox:
                    tally = cases.CASES[name](sandbox, seed)
                done[key] = {name: getattr(tally, name) for name in _COUNTS}
            except Exception:
                server.start()  # the case may have left it down
                done[key] = {"error": traceback.format_exc()}
            done[key]["seconds"] = round(time.monotonic() - began, 1)
            outcome = done[key].get("error", "") or ", ".join(f"{n} {done[key][n]}" for n in _COUNTS)
            console.print(f"{done[key]['seconds']:5.1f} s  {key}: {outcome}", markup=False, soft_wrap=True)
            if not options.short:
                OUT.mkdir(exist_ok=True)
                whole = TRIES.with_suffix(".new")  # a kill leaves the old file or the new one
                whole.write_text(json.dumps(done, indent=1))
                whole.replace(TRIES)
    finally:
        server.close()
    return print_report(console, planned, done, keep=not options.short)


def print_report(console: Console, planned: list[tuple[str, int]], done: dict[str, Any], *, keep: bool) -> int:
    """Print the table of the cases, write out/faults.json, and return the exit code."""
    table = Table("case", *(Column(name, justify="right") for name in ("tries", "lost", "twice", "generated again")))
    table.box = SIMPLE
    rows, failed = [], []
    for name in dict(planned):
        tries = [done[f"{name} #{seed}"] for other, seed in planned if other == name]
        errors = [one["error"] for one in tries if "error" in one]
        sums = {count: sum(one.get(count, 0) for one in tries) for count in _COUNTS}
        rows.append({"case": name, "tries": len(tries), **sums})
        counts = [str(len(tries)), *(str(n) for n in sums.values())]
        table.add_row(name + (f" [bold red]{len(errors)} failed[/]" if errors else ""), *counts)
        if errors or sums["lost"] or sums["twice"]:
            failed.append(name)
    console.print(table)
    console.print(f"{len(rows)} cases, {len(planned)} tries, {platform.machine()}, {os.cpu_count()} cores")
    if keep:
        (OUT / "faults.json").write_text(json.dumps(rows, indent=1))
    if failed:
        console.print(f"[bold red]Failed:[/] {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
