"""Compares engines: `make bench-engines`, under an hour on two cores. If it is stopped, the next start resumes it.

The contestants are the naive loop, other libraries called directly at their documented defaults (`peers.py`), and our
pipeline with PostgreSQL, in the precision that `auto` takes here. All summarize the same abstracts, one contestant
after the other, three rounds. It uses the demo's database. Table, plot and goals end up in out/bench-engines.json and
out/bench-engines.png.
"""

import json
import os
from typing import Any

from sum_assets.cli.demo import pubmed_file
from sum_assets.database.connection import connect
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer.engine_environments import install, python_of
from sum_assets.summarizer.engine_registry import installable_engines
from sum_assets_tests.evidence.bench_engines.contestants import CONTESTANTS, ROUNDS
from sum_assets_tests.evidence.bench_engines.corpus import Corpus
from sum_assets_tests.evidence.bench_engines.measure import measure, measure_machine, measure_writes
from sum_assets_tests.evidence.bench_engines.results import console, draw_plot, print_tables, summarize_passes
from sum_assets_tests.evidence.harness import OUT, run_command, write_results

_PASSES = "bench-engines-passes"


def main() -> None:
    """Measure what is not measured yet, in turn, and show the results."""
    os.environ["SUM_ASSETS_DEMO"] = "1"
    OUT.mkdir(exist_ok=True)
    for engine in installable_engines():
        try:
            python_of(engine, "cpu")
        except UnsupportedError:
            install(engine, "cpu", console.print)
    earlier = OUT / f"{_PASSES}.json"
    results: dict[str, Any] = json.loads(earlier.read_text()) if earlier.exists() else {}
    for arguments in (["db", "start"], ["init"], ["load", str(pubmed_file())]):
        run_command(*arguments)
    with connect() as connection:
        corpus = Corpus(connection)
        for turn in range(ROUNDS):
            measurements: list[tuple[str, Any]] = [("machine", measure_machine)]
            measurements += [("writes", lambda: measure_writes(connection))]
            measurements += [(c.key, lambda c=c: measure(c, corpus, connection)) for c in CONTESTANTS]
            for key, take in measurements:
                passes = results.setdefault(key, [])
                if len(passes) > turn:
                    continue
                passes.append(take())
                write_results(_PASSES, results, indent=1)
                last = passes[-1]
                text = f"{last['abstracts'] / last['seconds']:.2f} abstracts/s" if "seconds" in last else str(last)
                console.print(f"round {turn + 1}, {key}: {text}")
        summary = summarize_passes(corpus, results)
    write_results("bench-engines", summary, indent=1)
    print_tables(summary)
    draw_plot(summary)


if __name__ == "__main__":
    main()
