"""Proves the projection: `python sum_assets_tests/evidence/prove_projection.py`, a quarter of an hour on two cores.

In a database of its own it measures a sweep, then projects what 300 other abstracts take, and summarizes them
through the pipeline, five times over; and holds replicates that were left out against projections from the rest.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import numpy as np
import yaml
from psycopg import Connection
from rich.console import Console
from rich.table import Table

from sum_assets.benchmark.build_report import build_report
from sum_assets.benchmark.cell import CellResult
from sum_assets.benchmark.confidence_interval import pooled_noise
from sum_assets.benchmark.corpus_lengths import Corpus, mix_lengths
from sum_assets.benchmark.projection import Projection, Tokens, project
from sum_assets.benchmark.run import CellMeasurement, earlier_measurements, plan, registered_sweep
from sum_assets.cli.demo import pubmed_file
from sum_assets.database.connection import connect
from sum_assets.database.profile import recorded_lengths
from sum_assets.defs.instance import failure_message, materialize, open_instance, registered_ranges
from sum_assets.id_range import IdRange

TRIES, ROWS, PRESET, RESAMPLES = 5, 300, "bf16-16", 200
SWEEP = {
    "sample": 64,
    "baseline_sample": 2,
    "replicates": 3,
    "presets": {PRESET: {"batch_size": 16}},
}
MODEL = {"max_output_tokens": 48}
out = Console(width=120)


def measure(folder: Path) -> None:
    """Fill a new database with both PubMed files in ranges of 300, and measure the sweep."""
    sweep = folder / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(SWEEP))
    model = folder / "model.yaml"
    model.write_text(yaml.safe_dump(MODEL))
    newer = pubmed_file()
    files = [str(newer), str(newer.with_name("pubmed20n0014.xml.gz"))]
    for arguments in (
        ["init"], ["load", *files], ["ranges", "--rows", str(ROWS)], ["sweep", str(sweep), "-c", str(model)],
        ["benchmark"],
    ):  # fmt: skip
        subprocess.run([sys.executable, "-m", "sum_assets.cli.main", *arguments], check=True)


def other_ranges(connection: Connection, instance: dg.DagsterInstance) -> list[IdRange]:
    """Return ranges without an abstract of the sample, from all over the ID space."""
    cells, warm_up = plan(connection, *registered_sweep(connection))
    used = {i for cell in cells for i in cell.ids} | set(warm_up)
    free = [r for r in registered_ranges(instance) if not any(r.lo <= i <= r.hi for i in used)]
    return free[:: max(1, len(free) // TRIES)][:TRIES]


def project_range(connection: Connection, instance: dg.DagsterInstance, id_range: IdRange) -> Projection:
    """Look at a range as `abstracts` does, and project it from what the asset records."""
    connection.execute("DELETE FROM sum_assets.range_profile")
    run(instance, id_range, "abstracts")
    lengths = recorded_lengths(connection)
    corpus = Corpus(lengths[0].rows, mix_lengths(lengths), 1, "recorded")
    measured = earlier_measurements(connection, *registered_sweep(connection))
    found = next(p for p in build_report(connection, measured, corpus).presets if p.preset == PRESET)
    assert found.projection
    return found.projection


def run(instance: dg.DagsterInstance, id_range: IdRange, asset: str) -> float | None:
    """Materialize one asset, and return its `seconds_total`, if it has one."""
    gpu = {"config": SWEEP["presets"][PRESET]}  # type: ignore[index]
    resources = {"gpu": gpu, "summarizer": {"config": MODEL}}
    result = materialize(instance, id_range.key, None, {"resources": resources}, [asset], log_level="WARNING")
    if not result.success:
        raise SystemExit(failure_message(result))
    (event,) = result.get_asset_materialization_events()
    seconds = event.materialization.metadata.get("seconds_total")
    return float(seconds.value) if seconds else None  # type: ignore[arg-type]


def resample(measured: list[CellMeasurement]) -> float:
    """Return how often a replicate left out, its batches drawn anew, lies in the interval of the others."""
    cells = [m.result for m in measured if m.cell.name == PRESET and m.result.outcome == "ok"]
    others = [[m.result for m in measured if m.cell.name == "reference" and m.result.outcome == "ok"]]
    generator, held = np.random.default_rng(0), 0
    for _ in range(RESAMPLES):
        left_out = cells[generator.integers(len(cells))]
        rest = [c for c in cells if c is not left_out]
        drawn = [left_out.batches[i] for i in generator.integers(len(left_out.batches), size=ROWS // 16)]
        rows = sum(batch[0] for batch in drawn)
        # Tokens stand for characters: those of each batch drawn, all alike.
        lengths = np.sort(np.concatenate([np.full(n, tokens / n) for n, tokens, _, _ in drawn]))
        corpus = Corpus(rows, lengths, 1, "drawn")
        noise = pooled_noise([[_rate(c) for c in group] for group in [rest, *others]])
        found = project(rest, corpus, Tokens(0, 1, 10_000), padded_to=None, noise=noise, summary_bytes=0)
        beside = (left_out.seconds or 0) - left_out.phases["generate"]
        real = sum(batch[3] for batch in drawn) + beside / left_out.abstracts * rows + left_out.phases["load_model"]
        held += (found.low or 0) <= real <= (found.high or 0)
    return held / RESAMPLES


def _rate(cell: CellResult) -> float:
    return cell.abstracts / (cell.seconds or 1)


def main(folder: Path) -> None:
    """Measure, project, run, compare; the table is printed and written to out/prove-projection.json."""
    os.environ["SUM_ASSETS_HOME"] = str(folder)
    os.environ["SUM_ASSETS_DEMO"] = "1"
    subprocess.run([sys.executable, "-m", "sum_assets.cli.main", "db", "start"], check=True)
    try:
        measure(folder)
        table = Table("ID range", "rows", "projected s", "95 %", "half-width", "real s", "off by", "held")
        tries: list[dict[str, Any]] = []
        with connect() as connection, open_instance() as instance:
            for id_range in other_ranges(connection, instance):
                found = project_range(connection, instance, id_range)
                real = run(instance, id_range, "summaries") or 0
                low, high = found.low or 0, found.high or 0
                tries.append(
                    {"range": id_range.key, "projected": found.seconds, "low": low, "high": high, "real": real}
                )
                held = "yes" if low <= real <= high else "no"
                figures = (f"{found.seconds:.0f}", f"{low:.0f} to {high:.0f}", f"{found.half_width:.1%}", f"{real:.0f}")
                table.add_row(id_range.key, str(found.rows), *figures, f"{found.seconds / real - 1:+.1%}", held)
                out.print(
                    f"{id_range.key}: {found.seconds:.0f} s ({low:.0f} to {high:.0f}) projected, {real:.0f} s real"
                )
            share = resample(earlier_measurements(connection, *registered_sweep(connection)))
        out.print(table)
        held_tries = sum(t["low"] <= t["real"] <= t["high"] for t in tries)
        out.print(f"{held_tries} of {len(tries)} real runs held; {share:.1%} of {RESAMPLES} drawn")
        results = Path("out")
        results.mkdir(exist_ok=True)
        (results / "prove-projection.json").write_text(json.dumps({"tries": tries, "drawn": share}, indent=2))
    finally:
        subprocess.run([sys.executable, "-m", "sum_assets.cli.main", "db", "stop"], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with TemporaryDirectory(prefix="sum_assets_") as scratch:
            main(Path(scratch))
