"""Tests the projection: `make prove-projection`, a quarter of an hour on two cores.

In a database of its own it measures a sweep. Five times it then projects the time for 300 other abstracts, and
summarizes them through the pipeline. It also compares replicates that were left out with projections from the rest.
"""

import os
from pathlib import Path
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
from sum_assets.benchmark.run_sweep import CellMeasurement, earlier_measurements, plan, registered_sweep
from sum_assets.cli.demo import pubmed_file
from sum_assets.database.connection import connect
from sum_assets.database.source_profile import recorded_lengths
from sum_assets.defs.instance import materialize, open_instance, registered_ranges
from sum_assets.defs.run_failures import failure_message
from sum_assets.id_range import IdRange
from sum_assets_tests.evidence.harness import run_command, run_in_folder, write_results

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
    model.write_text(yaml.safe_dump({"resources": {"summarizer": {"config": MODEL}}}))
    newer = pubmed_file()
    files = [str(newer), str(newer.with_name("pubmed20n0014.xml.gz"))]
    for arguments in (
        ["init"], ["load", *files], ["ranges", "--rows", str(ROWS)], ["sweep", str(sweep), "-c", str(model)],
        ["benchmark"],
    ):  # fmt: skip
        run_command(*arguments)


def other_ranges(connection: Connection, instance: dg.DagsterInstance) -> list[IdRange]:
    """Return ranges without an abstract of the sample, spread over the ID space."""
    cells, warm_up = plan(connection, *registered_sweep(connection))
    used = {i for cell in cells for i in cell.ids} | set(warm_up)
    free = [r for r in registered_ranges(instance) if not any(r.lo <= i <= r.hi for i in used)]
    return free[:: max(1, len(free) // TRIES)][:TRIES]


def project_range(connection: Connection, instance: dg.DagsterInstance, id_range: IdRange) -> Projection:
    """Profile a range with the asset `abstracts`, and project its time from what the asset records."""
    connection.execute("DELETE FROM sum_assets.range_profile")
    run(instance, id_range, "abstracts")
    lengths = recorded_lengths(connection)
    corpus = Corpus(lengths[0].rows, mix_lengths(lengths), 1, "recorded")
    measurements = earlier_measurements(connection, *registered_sweep(connection))
    result = next(p for p in build_report(connection, measurements, corpus).presets if p.preset == PRESET)
    assert result.projection
    return result.projection


def run(instance: dg.DagsterInstance, id_range: IdRange, asset: str) -> float | None:
    """Materialize one asset, and return its metadata `seconds_total` if it has it. Raises SystemExit if it fails."""
    gpu = {"config": SWEEP["presets"][PRESET]}  # type: ignore[index]
    resources = {"gpu": gpu, "summarizer": {"config": MODEL}}
    result = materialize(instance, id_range.key, None, {"resources": resources}, [asset], log_level="WARNING")
    if not result.success:
        raise SystemExit(failure_message(result))
    (event,) = result.get_asset_materialization_events()
    seconds = event.materialization.metadata.get("seconds_total")
    return float(seconds.value) if seconds else None  # type: ignore[arg-type]


def within_run(projection: Projection) -> tuple[float, float, float]:
    """Return a projection and its interval without the start and the end of a run: these are in no `seconds_total`."""
    share = 1 - (projection.phases["runs"] + projection.phases["ranges"]) / projection.seconds
    return share * projection.seconds, share * (projection.low or 0), share * (projection.high or 0)


def resample(measurements: list[CellMeasurement]) -> float:
    """Return how often a replicate that was left out lies in the interval of the others, its batches resampled."""
    cells = [m.result for m in measurements if m.cell.name == PRESET and m.result.outcome == "ok"]
    others = [[m.result for m in measurements if m.cell.name == "reference" and m.result.outcome == "ok"]]
    generator, within = np.random.default_rng(0), 0
    for _ in range(RESAMPLES):
        left_out = cells[generator.integers(len(cells))]
        rest = [c for c in cells if c is not left_out]
        drawn = [left_out.batches[i] for i in generator.integers(len(left_out.batches), size=ROWS // 16)]
        rows = sum(batch[0] for batch in drawn)
        # Tokens take the place of characters: each abstract has the mean of its batch.
        lengths = np.sort(np.concatenate([np.full(n, tokens / n) for n, tokens, _, _ in drawn]))
        corpus = Corpus(rows, lengths, 1, "drawn")
        noise = pooled_noise([[_rate(c) for c in group] for group in [rest, *others]])
        projection = project(rest, corpus, Tokens(0, 1, 10_000), padded_to=None, noise=noise, summary_bytes=0)
        other = (left_out.seconds or 0) - left_out.phases["generate"]
        real = sum(batch[3] for batch in drawn) + other / left_out.abstracts * rows + left_out.phases["load_model"]
        _, low, high = within_run(projection)
        within += low <= real <= high
    return within / RESAMPLES


def _rate(cell: CellResult) -> float:
    return cell.abstracts / (cell.seconds or 1)


def main(folder: Path) -> None:
    """Measure, project, run, compare; the table is printed and written to out/prove-projection.json."""
    os.environ["SUM_ASSETS_HOME"] = str(folder)
    os.environ["SUM_ASSETS_DEMO"] = "1"
    run_command("db", "start")
    try:
        measure(folder)
        table = Table("ID range", "rows", "projected s", "95 %", "half-width", "real s", "off by", "within")
        tries: list[dict[str, Any]] = []
        with connect() as connection, open_instance() as instance:
            for id_range in other_ranges(connection, instance):
                projection = project_range(connection, instance, id_range)
                real = run(instance, id_range, "summaries") or 0
                projected, low, high = within_run(projection)
                tries.append({"range": id_range.key, "projected": projected, "low": low, "high": high, "real": real})
                within = "yes" if low <= real <= high else "no"
                figures = (
                    f"{projected:.0f}",
                    f"{low:.0f} to {high:.0f}",
                    f"{projection.half_width:.1%}",
                    f"{real:.0f}",
                )
                table.add_row(id_range.key, str(projection.rows), *figures, f"{projected / real - 1:+.1%}", within)
                out.print(f"{id_range.key}: {projected:.0f} s ({low:.0f} to {high:.0f}) projected, {real:.0f} s real")
            share = resample(earlier_measurements(connection, *registered_sweep(connection)))
        out.print(table)
        within_tries = sum(t["low"] <= t["real"] <= t["high"] for t in tries)
        out.print(
            f"{within_tries} of {len(tries)} real runs lie in the interval; {share:.1%} of {RESAMPLES} resampled ones"
        )
        write_results("prove-projection", {"tries": tries, "drawn": share})
    finally:
        run_command("db", "stop")


if __name__ == "__main__":
    run_in_folder(main)
