"""The result of the comparison: the table, the goals and the plot."""

import statistics
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from sum_assets.plot_style import BLUE, GRAY, ORANGE, SKY, style_axes
from sum_assets_tests.evidence.bench_engines.contestants import CONTESTANTS, CPU, MORE_ROWS, ROWS, SHORT, SMOL, T5
from sum_assets_tests.evidence.bench_engines.corpus import Corpus
from sum_assets_tests.evidence.harness import OUT

console = Console(width=140)


def summarize_passes(corpus: Corpus, results: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of the table and the goals, from the medians over the rounds."""
    peak = statistics.median(r["gemm"] for r in results["machine"]) * 1e9
    rows: list[dict[str, Any]] = []
    naive: dict[str, float] = {}
    for contestant in CONTESTANTS:
        passes = results[contestant.key]
        rate = statistics.median(p["abstracts"] / p["seconds"] for p in passes)
        if contestant.kind == "naive":
            naive[contestant.model] = rate
        share = statistics.median(
            corpus.operations(contestant.model, p["abstracts"], p["output_tokens"]) / p["seconds"] / peak
            for p in passes
        )
        rows.append(
            {
                "contestant": contestant.name,
                "model": contestant.model,
                "kind": contestant.kind,
                "abstracts": contestant.rows,
                "abstracts_per_second": rate,
                "over_naive": rate / naive[contestant.model],
                "share_of_peak": share,
                "start_up": statistics.median(p["start_up"] for p in passes),
            }
        )

    def best(model: str, *kinds: str, name: str = "", column: str = "abstracts_per_second", size: int = ROWS) -> float:
        candidates = [r for r in rows if r["model"] == model and r["kind"] in kinds and name in r["contestant"]]
        return max(float(r[column]) for r in candidates if r["abstracts"] == size)

    writes = {name: statistics.median(w[name] for w in results["writes"]) for name in results["writes"][0]}
    of_peak = best(SMOL, "ours", name=f" {SHORT}", column="share_of_peak")
    goals = [
        ("our best end to end over the best peer at its defaults", best(SMOL, "ours") / best(SMOL, "peer"), 1.25),
        ("our best end to end over the naive loop", best(SMOL, "ours", column="over_naive"), 25),
        (f"share of the {SHORT} GEMM peak, {SHORT} alone", of_peak, 0.65),
        ("transformers alone over the naive loop", best(SMOL, "ours", name="transformers", column="over_naive"), 15),
        ("openvino int8 end to end over itself directly", best(SMOL, "ours", name="int8") / best(SMOL, "direct"), 0.98),
        ("T5-base shape over the naive loop", best(T5, "ours", column="over_naive"), 9),
        ("writing 4,096 summaries together over one by one", writes["by_4096"] / writes["one_by_one"], 100),
        ("writing 64 summaries together over one by one", writes["by_64"] / writes["one_by_one"], 100),
    ]
    if CPU.computes_bfloat16:
        over_peer = best(SMOL, "ours", size=MORE_ROWS) / best(SMOL, "peer", size=MORE_ROWS)
        goals += [
            (f"our best over the best peer, {MORE_ROWS} abstracts", over_peer, 1.25),
            (
                f"our best over the naive loop, {MORE_ROWS} abstracts",
                best(SMOL, "ours", column="over_naive", size=MORE_ROWS),
                25,
            ),
        ]
    machine = {name: statistics.median(r[name] for r in results["machine"]) for name in results["machine"][0]}
    return {
        "machine": machine,
        "writes": writes,
        "rows": rows,
        "goals": [{"name": name, "value": value, "goal": goal} for name, value, goal in goals],
    }


def print_tables(summary: dict[str, Any]) -> None:
    """Print contestants, goals, the machine and the rates of writing."""
    table = Table("contestant", "model", "abstracts", "abstracts/s", "over naive", "share of peak", "start-up, s")
    for row in summary["rows"]:
        table.add_row(
            row["contestant"], row["model"], str(row["abstracts"]), f"{row['abstracts_per_second']:.2f}",
            f"{row['over_naive']:.1f}x", f"{row['share_of_peak']:.0%}", f"{row['start_up']:.1f}",
        )  # fmt: skip
    console.print(table)
    goals = Table("goal", "reached", "to reach")
    for goal in summary["goals"]:
        goals.add_row(goal["name"], f"{goal['value']:.2f}", f"{goal['goal']}")
    console.print(goals)
    machine, writes = summary["machine"], summary["writes"]
    console.print(f"{SHORT} GEMM peak {machine['gemm']:.0f} GFLOP/s, memory {machine['bandwidth']:.0f} GB/s")
    console.print("summaries written per second: " + ", ".join(f"{n} {rate:,.0f}" for n, rate in writes.items()))


def draw_plot(summary: dict[str, Any]) -> None:
    """Draw each contestant's rate over the naive loop's to out/bench-engines.png."""
    colors = {"naive": GRAY, "peer": ORANGE, "direct": SKY, "ours": BLUE}
    drawn = [(m, [r for r in summary["rows"] if r["model"] == m and r["abstracts"] <= ROWS]) for m in (SMOL, T5)]
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    for axes, (model, rows) in zip(figure.subplots(2, 1, height_ratios=[len(r) for _, r in drawn]), drawn, strict=True):
        rows.sort(key=lambda r: float(r["over_naive"]))
        bars = axes.barh(
            [r["contestant"] for r in rows], [r["over_naive"] for r in rows], color=[colors[r["kind"]] for r in rows]
        )
        axes.bar_label(bars, fmt="%.1fx", padding=3)
        style_axes(axes, f"{model}, {ROWS} abstracts: times the naive loop")
    figure.savefig(OUT / "bench-engines.png", dpi=110)
