"""Measures one pass of a contestant, the machine itself, and the writing of summaries."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from psycopg import Connection

from sum_assets.benchmark.cell import Task
from sum_assets.benchmark.run_sweep import run_cell
from sum_assets.benchmark.sweep import BASELINE, Preset, Sweep
from sum_assets.database.benchmark_results import BenchmarkRow, SummaryWriter, forget_summaries
from sum_assets.database.results import ResultStore
from sum_assets.summarizer import Summary, resolve_settings
from sum_assets.summarizer.engine_environments import python_of
from sum_assets.summarizer.engines.ctranslate2_engine import converted
from sum_assets.summarizer.engines.subprocess_engine import exported
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets_tests.evidence.bench_engines.contestants import OUTPUT_TOKENS, PRECISION, Contestant
from sum_assets_tests.evidence.bench_engines.corpus import Corpus
from sum_assets_tests.evidence.harness import OUT


def measure(contestant: Contestant, corpus: Corpus, connection: Connection) -> dict[str, Any]:
    """Return seconds, seconds to start, abstracts and output tokens of one pass. Raises SystemExit if it fails."""
    return _measure_peer(contestant, corpus) if contestant.peer else _measure_ours(contestant, corpus, connection)


def _measure_ours(contestant: Contestant, corpus: Corpus, connection: Connection) -> dict[str, Any]:
    """Measure a preset of ours in a cell, as the benchmark does."""
    rows = contestant.rows
    naive = contestant.kind == "naive"
    preset = Sweep().all_presets()[BASELINE] if naive else Preset.model_validate(contestant.preset)
    key = f"bench-engines {contestant.key}"[:64]
    forget_summaries(connection, key)
    settings = corpus.settings[contestant.model].model_dump()
    task = Task(key, preset.model_dump(), settings, corpus.ids[:rows], corpus.ids[corpus.warm_up(rows)])
    result = run_cell(task, 1800)
    forget_summaries(connection, key)
    if result.outcome != "ok":
        raise SystemExit(f"{contestant.key}: {result.outcome}: {result.detail}")
    return {
        "seconds": result.seconds,
        "start_up": result.phases["load_model"],
        "abstracts": result.abstracts,
        "output_tokens": result.output_tokens,
    }


def _measure_peer(contestant: Contestant, corpus: Corpus) -> dict[str, Any]:
    """Measure another library, in the environment that it is installed in."""
    rows = contestant.rows
    resolved = corpus.resolved[contestant.model]
    python, model = Path(sys.executable), str(resolved.files.folder)
    if contestant.peer in ("openvino", "vllm"):
        python = python_of(contestant.peer, "cpu")
    if contestant.peer == "openvino":
        chosen = resolve_settings(Preset.model_validate(contestant.preset), corpus.settings[contestant.model])
        assert isinstance(chosen, ModelSettings)
        model = str(exported(chosen))
    if contestant.peer == "ctranslate2":
        model = str(converted(resolved))
    prompts = corpus.prompts(contestant.model, slice(rows))
    if contestant.kind == "direct":
        prompts.sort(key=len, reverse=True)
    peer_task = {
        "model": model,
        "prompts": prompts,
        "warm_up": corpus.prompts(contestant.model, corpus.warm_up(rows)),
        "max_output_tokens": OUTPUT_TOKENS,
        "stops": corpus.stops[contestant.model],
        "precision": PRECISION,
        "options": contestant.options,
    }
    # -P: without this folder on its path, whose modules have common names.
    command = [str(python), "-P", str(Path(__file__).with_name("peers.py")), contestant.peer]
    log_file = OUT / "bench-engines-peer.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        process.communicate(json.dumps(peer_task).encode())
    with suppress(ProcessLookupError):  # vLLM's processes outlive their parent
        os.killpg(process.pid, signal.SIGKILL)
    last = log_file.read_text().strip().splitlines()[-20:]
    if process.returncode:
        raise SystemExit("\n".join([f"{contestant.key}:", *last]))
    result: dict[str, Any] = json.loads(next(line for line in reversed(last) if line.startswith('{"start_up"')))
    written = result.pop("written")
    return result | {"abstracts": len(written), "output_tokens": sum(map(len, written))}


def measure_machine() -> dict[str, float]:
    """Return the peak of matrix products in GFLOP/s, and the memory bandwidth in GB/s, read and written, by torch."""
    peak = 0.0
    for size in (1024, 2048, 4096):
        a, b = (torch.randn(size, size, dtype=getattr(torch, PRECISION)) for _ in "ab")
        peak = max(peak, 2 * size**3 / _fastest(lambda a=a, b=b: a @ b) / 1e9)
    source = torch.zeros(2**28, dtype=torch.uint8)
    target = torch.empty_like(source)
    return {"gemm": peak, "bandwidth": 2 * len(source) / _fastest(lambda: target.copy_(source)) / 1e9}


def _fastest(call: Any) -> float:
    """Return the seconds of the fastest of ten calls."""
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def measure_writes(connection: Connection, rows: int = 4096, single: int = 512) -> dict[str, float]:
    """Return summaries written per second: with one INSERT and COMMIT each, and together as a run writes them."""
    key, text = "bench-engines writes", "A summary of some words that says what was found. " * 6
    forget_summaries(connection, key)
    ids = [row[0] for row in connection.execute("SELECT abstract_id FROM sum_assets.source_abstract LIMIT %s", [rows])]
    started = time.perf_counter()
    first_rows = [BenchmarkRow(i, text, 300, 64, "stop") for i in ids[:single]]
    SummaryWriter(key, one_by_one=True).write(connection, first_rows)
    one_by_one = single / (time.perf_counter() - started)
    forget_summaries(connection, key)
    store = ResultStore("bench-engines", "bench-engines")
    store.register(connection, {})
    summaries = [Summary(i, text, 300, 64, False, "stop") for i in ids]
    rates = {"one_by_one": one_by_one}
    for size in (64, rows):
        connection.execute("DELETE FROM sum_assets.generated_summary WHERE fingerprint = 'bench-engines'")
        started = time.perf_counter()
        for first in range(0, rows, size):
            store.write(connection, summaries[first : first + size], dict.fromkeys(ids, b""))
        rates[f"by_{size}"] = rows / (time.perf_counter() - started)
    connection.execute("DELETE FROM sum_assets.generated_summary WHERE fingerprint = 'bench-engines'")
    connection.execute("DELETE FROM sum_assets.summarizer_config WHERE fingerprint = 'bench-engines'")
    return rates
