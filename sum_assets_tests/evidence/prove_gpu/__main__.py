"""Proves summarizing on one GPU, or rehearses that on a CPU: `make prove-gpu`."""

import argparse
import os
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sum_assets.paths import engines_dir
from sum_assets_tests.evidence.harness import OUT, write_results
from sum_assets_tests.evidence.prove_gpu.case import Case, Machine, Result
from sum_assets_tests.evidence.prove_gpu.plan import correctness, speed
from sum_assets_tests.evidence.prove_gpu.runner import Runner
from sum_assets_tests.evidence.prove_gpu.tables import as_markdown


def main() -> int:
    """Run all cases, write out/prove-gpu.json and out/prove-gpu.md, and return 1 if one failed."""
    options = _options()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = options.models or stack.enter_context(TemporaryDirectory(prefix="sum_assets_"))
        _use_own_home(Path(folder) / "home")
        log = OUT / "prove-gpu.log"
        OUT.mkdir(exist_ok=True)
        log.write_text("")
        runner = Runner(Machine(options.device, str(Path(folder).resolve()), False), options.budget, log)
        stack.callback(runner.close)
        report: dict[str, Any] = {"device": {}, "rehearsal": False, "checks": [], "rates": [], "left_out": []}
        for case, result, seconds in runner.run([Case("device", ".device:describe", limit=120)]):
            _note(report, case, result, seconds)
            report["device"] = result.figures
        if report["device"]:
            rehearsal = report["device"]["kind"] != "cuda"
            report["rehearsal"] = rehearsal
            runner.machine = Machine(report["device"]["torch_name"], str(Path(folder).resolve()), rehearsal)
            if rehearsal:
                print("There is no GPU here, so this is a rehearsal on the CPU: it proves nothing about a GPU.")
            cases = [*correctness(rehearsal=rehearsal), *speed(rehearsal=rehearsal, slow=_is_slow(report["device"]))]
            chosen = [case for case in cases if options.select.search(case.name)]
            for case, result, seconds in runner.run(chosen):
                _note(report, case, result, seconds)
            if others := len(cases) - len(chosen):
                reason = f"--select {options.select.pattern}"
                report["left_out"].append({"name": f"{others} more", "reason": reason})
    report["seconds"] = time.monotonic() - began
    write_results("prove-gpu", report)
    (OUT / "prove-gpu.md").write_text(as_markdown(report))
    failed = [check["name"] for check in report["checks"] if not check["ok"]]
    print(f"{len(report['checks'])} checks, {len(failed)} failed, {len(report['left_out'])} left out; "
          f"{len(report['rates'])} rates; {report['seconds']:.0f} s. See {OUT}/prove-gpu.md.")  # fmt: skip
    for name in failed:
        print(f"failed: {name}")
    return bool(failed)


def _note(report: dict[str, Any], case: Case, result: Result, seconds: float) -> None:
    print(f"{result.outcome:8} {case.name} ({seconds:.1f} s): {result.detail}", flush=True)
    report["rates"] += [] if result.outcome == "failed" else result.rates
    if result.outcome == "left out":
        report["left_out"].append({"name": case.name, "reason": result.detail})
    elif result.outcome == "failed" or not result.rates:
        ok = result.outcome == "ok"
        report["checks"].append({"name": case.name, "ok": ok, "detail": result.detail, "seconds": round(seconds, 1)})


def _is_slow(device: dict[str, Any]) -> bool:
    return device["capability"] is not None and tuple(device["capability"]) < (8, 0)


def _use_own_home(home: Path) -> None:
    """Keep what is converted and measured out of the user's home, but use the engines that are installed there."""
    installed = engines_dir()
    home.mkdir(parents=True, exist_ok=True)
    if installed.exists() and not (home / "engines").exists():
        (home / "engines").symlink_to(installed)
    os.environ["SUM_ASSETS_HOME"] = str(home)
    os.environ["HF_HUB_OFFLINE"] = "1"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prove_gpu", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda:N or cpu; auto rehearses where there is no GPU")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds, after which nothing more is begun")
    parser.add_argument(
        "--select", type=re.compile, default="", metavar="REGEX", help="only what has this in its name; all by default"
    )
    parser.add_argument("--models", help="folder that keeps the models for the next run; a temporary one by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
