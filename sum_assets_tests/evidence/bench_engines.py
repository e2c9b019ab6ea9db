"""Engines side by side: `make bench-engines`, under an hour on two cores; started again, it goes on where it stopped.

The naive loop, other libraries called directly at their documented defaults (`peers.py`), and our pipeline reading and
writing PostgreSQL, in the precision that `auto` takes here, all on the same abstracts, one after the other, three times
around. It uses the demo's database. Table, plot and goals end up in out/bench-engines.json and out/bench-engines.png.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from psycopg import Connection
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from sum_assets.benchmark.cell import Task
from sum_assets.benchmark.run import run_cell
from sum_assets.benchmark.sweep import BASELINE, Preset, Sweep
from sum_assets.cli.demo import pubmed_file
from sum_assets.database.benchmark_results import BenchmarkRow, SummaryWriter, draw_sample, forget_summaries
from sum_assets.database.connection import connect
from sum_assets.database.results import ResultStore
from sum_assets.database.source import read_abstracts
from sum_assets.defs.resources.summarizer import demo_summarizer
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import Summary, resolve_settings
from sum_assets.summarizer.devices import choose_precision, find_device
from sum_assets.summarizer.engines.ctranslate2_engine import converted
from sum_assets.summarizer.engines.subprocess_engine import exported
from sum_assets.summarizer.environments import LIBRARIES, install, python_of
from sum_assets.summarizer.models import build_once, stop_tokens
from sum_assets.summarizer.prompts import PromptEncoder
from sum_assets.summarizer.resolve import ResolvedModel

ROUNDS, ROWS, MORE_ROWS, NAIVE_ROWS, WARM_UP, OUTPUT_TOKENS = 3, 64, 256, 16, 2, 64
SMOL, T5 = "SmolLM2-135M", "T5-base shape"
OUT = Path("out")
console = Console(width=140)


@dataclass(frozen=True)
class Contestant:
    """One row of the table: a preset of ours in a cell of its own, or a peer and its options on that preset's model."""

    name: str
    model: str
    kind: Literal["naive", "peer", "direct", "ours"]
    rows: int = ROWS
    preset: dict[str, Any] = field(default_factory=dict)
    peer: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name it in the file of results."""
        return f"{self.model}, {self.rows}: {self.name}"


_CPU = find_device("cpu")
_PRECISION = choose_precision("auto", _CPU, "llama")
_SHORT = {"bfloat16": "bf16", "float32": "f32"}[_PRECISION]
#: By default vLLM takes bfloat16 even where a CPU only emulates it, which would take the whole hour.
_VLLM, _VLLM_NAME = ({}, "vLLM, defaults") if _CPU.computes_bfloat16 else ({"dtype": _PRECISION}, f"vLLM, {_SHORT}")
_OURS = {"precision": _PRECISION, "batch_size": 64}
_OURS_VLLM = {"engine": "vllm", "precision": _PRECISION, "batch_size": 256}
_OPENVINO = {"engine": "openvino", "precision": _PRECISION, "batch_size": 256}
_INT8 = _OPENVINO | {"quantization": "int8"}
#: What our worker sets for `_INT8`.
_INT8_DIRECT = {
    "scheduler": {"max_num_seqs": 256, "max_num_batched_tokens": 2048, "enable_prefix_caching": True},
    "properties": {
        "INFERENCE_PRECISION_HINT": _SHORT,
        "KV_CACHE_PRECISION": _SHORT,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "192",
    },
}
_DIRECT = "OpenVINO GenAI int8, our settings, directly"
CONTESTANTS = [
    Contestant("the naive loop", SMOL, "naive", NAIVE_ROWS),
    Contestant(f"transformers generate, {_SHORT}, batch 16", SMOL, "peer", peer="transformers"),
    Contestant(_VLLM_NAME, SMOL, "peer", peer="vllm", options=_VLLM),
    Contestant("OpenVINO GenAI, defaults", SMOL, "peer", preset=_OPENVINO, peer="openvino"),
    Contestant(_DIRECT, SMOL, "direct", preset=_INT8, peer="openvino", options=_INT8_DIRECT),
    Contestant(f"sum_assets, transformers {_SHORT}", SMOL, "ours", preset=_OURS),
    Contestant(f"sum_assets, vllm {_SHORT}", SMOL, "ours", preset=_OURS_VLLM),
    Contestant(f"sum_assets, openvino {_SHORT}", SMOL, "ours", preset=_OPENVINO),
    Contestant("sum_assets, openvino int8", SMOL, "ours", preset=_INT8),
    Contestant("the naive loop", T5, "naive", NAIVE_ROWS // 2),
    Contestant("CTranslate2 int8, defaults", T5, "peer", peer="ctranslate2"),
    Contestant(f"sum_assets, transformers {_SHORT}", T5, "ours", preset=_OURS),
    Contestant("sum_assets, ctranslate2 int8", T5, "ours", preset={"engine": "ctranslate2", "quantization": "int8"}),
]
if _CPU.computes_bfloat16:  # without it, they alone would take the hour
    CONTESTANTS += [
        Contestant(_VLLM_NAME, SMOL, "peer", MORE_ROWS, peer="vllm"),
        Contestant("OpenVINO GenAI, defaults", SMOL, "peer", MORE_ROWS, preset=_OPENVINO, peer="openvino"),
        Contestant(f"sum_assets, vllm {_SHORT}", SMOL, "ours", MORE_ROWS, preset=_OURS_VLLM),
        Contestant("sum_assets, openvino int8", SMOL, "ours", MORE_ROWS, preset=_INT8),
    ]


class Corpus:
    """The abstracts, their prompts by model, and the models."""

    def __init__(self, connection: Connection) -> None:
        self.ids = draw_sample(connection, MORE_ROWS + WARM_UP)
        self._texts = {row.abstract_id: row.text for row in read_abstracts(connection, self.ids)}
        demo = demo_summarizer()
        t5 = {"model": str(_t5(connection)), "prompt": "summarize: "}
        self.settings = {
            SMOL: demo.model_copy(update={"max_output_tokens": OUTPUT_TOKENS}),
            T5: demo.model_copy(update=t5 | {"max_output_tokens": OUTPUT_TOKENS}),
        }
        self.resolved: dict[str, ResolvedModel] = {}
        self._prompts: dict[str, list[list[int]]] = {}
        self.stops: dict[str, list[int]] = {}
        for model, settings in self.settings.items():
            resolved = resolve_settings(Preset(), settings)
            assert isinstance(resolved, ResolvedModel)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(resolved.files.location)
            encoder = PromptEncoder(tokenizer, settings.prompt, settings.max_input_tokens, chat=model == SMOL)
            encoded = encoder.encode([(i, self._texts[i]) for i in self.ids])
            self._prompts[model] = [e.ids for e in encoded]
            self.resolved[model] = resolved
            self.stops[model] = stop_tokens(resolved.files, tokenizer)

    def warm_up(self, rows: int) -> slice:
        """Return where the abstracts to warm up on are: those after the sample."""
        return slice(rows, rows + WARM_UP)

    def prompts(self, model: str, where: slice) -> list[list[int]]:
        """Return prompts as ids."""
        return self._prompts[model][where]

    def operations(self, model: str, rows: int, output_tokens: int) -> float:
        """Return multiplications and additions that so many abstracts take: matrix products and attention.

        After Kaplan et al. (Scaling Laws for Neural Language Models, 2020, table 1): two for each weight and token,
        and four for each layer, width and pair of tokens that attend to each other.
        """
        config: Any = self.resolved[model].files.config
        inputs = [len(ids) for ids in self._prompts[model][:rows]]
        each = output_tokens / rows
        total = 0.0
        if model == SMOL:
            size, heads = config.hidden_size, config.num_attention_heads
            keys = size * config.num_key_value_heads // heads
            weights = config.num_hidden_layers * (2 * size * (size + keys) + 3 * size * config.intermediate_size)
            for n in inputs:
                pairs = n * n / 2 + each * (n + each / 2)
                total += 2 * weights * (n + each) + 4 * config.num_hidden_layers * size * pairs
        else:
            size, inner = config.d_model, config.num_heads * config.d_kv
            attention, layers = 4 * size * inner, config.num_layers
            for n in inputs:
                encoder = 2 * (attention + 2 * size * config.d_ff) * n + 4 * inner * n * n
                keys = 2 * 2 * size * inner * n
                decoder = 2 * (1.5 * attention + 2 * size * config.d_ff) * each + 4 * inner * each * (n + each / 2)
                total += layers * (encoder + keys + decoder)
        return float(total + 2 * size * config.vocab_size * output_tokens)


def _t5(connection: Connection) -> Path:
    """Return T5-base with random weights that never ends by itself, and a tokenizer made for these abstracts."""

    def build(folder: Path) -> None:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        special = ["<pad>", "</s>", "<unk>"]
        trainer = trainers.BpeTrainer(vocab_size=32_000, special_tokens=special, show_progress=False)
        query = "SELECT abstract FROM sum_assets.source_abstract ORDER BY abstract_id LIMIT 5000"
        tokenizer.train_from_iterator((row[0] for row in connection.execute(query)), trainer)
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=tokenizer.get_vocab_size(), d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12,
            decoder_start_token_id=0,  # type: ignore[call-arg]
            pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
        model = T5ForConditionalGeneration(config)
        with torch.no_grad():
            model.shared.weight[1] = 0  # the end's score is 0, which never is the highest
        model.save_pretrained(folder)

    return build_once("bench-t5-base-shape", build)


def measure(contestant: Contestant, corpus: Corpus, connection: Connection) -> dict[str, Any]:
    """Return seconds, seconds to start, abstracts and output tokens of one pass."""
    rows = contestant.rows
    if not contestant.peer:
        ours = contestant.preset
        preset = Sweep().all_presets()[BASELINE] if contestant.kind == "naive" else Preset.model_validate(ours)
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
    resolved = corpus.resolved[contestant.model]
    python, model = Path(sys.executable), resolved.files.location
    if contestant.peer in ("openvino", "vllm"):
        python = python_of(contestant.peer)
    if contestant.peer == "openvino":
        chosen = resolve_settings(Preset.model_validate(contestant.preset), corpus.settings[contestant.model])
        assert isinstance(chosen, ResolvedModel)
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
        "precision": _PRECISION,
        "options": contestant.options,
    }
    command = [str(python), str(Path(__file__).with_name("peers.py")), contestant.peer]
    said = OUT / "bench-engines-peer.log"
    with said.open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        process.communicate(json.dumps(peer_task).encode())
    with suppress(ProcessLookupError):  # vLLM's processes outlive their parent
        os.killpg(process.pid, signal.SIGKILL)
    last = said.read_text().strip().splitlines()[-20:]
    if process.returncode:
        raise SystemExit("\n".join([f"{contestant.key}:", *last]))
    found: dict[str, Any] = json.loads(next(line for line in reversed(last) if line.startswith('{"start_up"')))
    written = found.pop("written")
    return found | {"abstracts": len(written), "output_tokens": sum(map(len, written))}


def measure_machine() -> dict[str, float]:
    """Return the GEMM peak in GFLOP/s and the bandwidth of memory in GB/s, read and written, by torch."""
    peak = 0.0
    for size in (1024, 2048, 4096):
        a, b = (torch.randn(size, size, dtype=getattr(torch, _PRECISION)) for _ in "ab")
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
    """Return summaries per second: one INSERT and COMMIT each, and as a run commits what finished together."""
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


def summarize(corpus: Corpus, results: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of the table and the goals, from the medians over the rounds."""
    peak = statistics.median(r["gemm"] for r in results["machine"]) * 1e9
    rows: list[dict[str, Any]] = []
    naive: dict[str, float] = {}
    for one in CONTESTANTS:
        passes = results[one.key]
        rate = statistics.median(p["abstracts"] / p["seconds"] for p in passes)
        if one.kind == "naive":
            naive[one.model] = rate
        share = statistics.median(
            corpus.operations(one.model, p["abstracts"], p["output_tokens"]) / p["seconds"] / peak for p in passes
        )
        rows.append(
            {
                "contestant": one.name,
                "model": one.model,
                "kind": one.kind,
                "abstracts": one.rows,
                "abstracts_per_second": rate,
                "over_naive": rate / naive[one.model],
                "share_of_peak": share,
                "start_up": statistics.median(p["start_up"] for p in passes),
            }
        )

    def best(model: str, *kinds: str, name: str = "", column: str = "abstracts_per_second", size: int = ROWS) -> float:
        found = [r for r in rows if r["model"] == model and r["kind"] in kinds and name in r["contestant"]]
        return max(float(r[column]) for r in found if r["abstracts"] == size)

    writes = {name: statistics.median(w[name] for w in results["writes"]) for name in results["writes"][0]}
    of_peak = best(SMOL, "ours", name=f" {_SHORT}", column="share_of_peak")
    goals = [
        ("our best end to end over the best peer at its defaults", best(SMOL, "ours") / best(SMOL, "peer"), 1.25),
        ("our best end to end over the naive loop", best(SMOL, "ours", column="over_naive"), 25),
        (f"share of the {_SHORT} GEMM peak, {_SHORT} alone", of_peak, 0.65),
        ("transformers alone over the naive loop", best(SMOL, "ours", name="transformers", column="over_naive"), 15),
        ("openvino int8 end to end over itself directly", best(SMOL, "ours", name="int8") / best(SMOL, "direct"), 0.98),
        ("T5-base shape over the naive loop", best(T5, "ours", column="over_naive"), 9),
        ("writing 4,096 summaries together over one by one", writes["by_4096"] / writes["one_by_one"], 100),
        ("writing 64 summaries together over one by one", writes["by_64"] / writes["one_by_one"], 100),
    ]
    if _CPU.computes_bfloat16:
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


def show(found: dict[str, Any]) -> None:
    """Print the tables, and draw the plot."""
    table = Table("contestant", "model", "abstracts", "abstracts/s", "over naive", "share of peak", "start-up, s")
    for row in found["rows"]:
        table.add_row(
            row["contestant"], row["model"], str(row["abstracts"]), f"{row['abstracts_per_second']:.2f}",
            f"{row['over_naive']:.1f}x", f"{row['share_of_peak']:.0%}", f"{row['start_up']:.1f}",
        )  # fmt: skip
    console.print(table)
    goals = Table("goal", "reached", "to reach")
    for goal in found["goals"]:
        goals.add_row(goal["name"], f"{goal['value']:.2f}", f"{goal['goal']}")
    console.print(goals)
    machine, writes = found["machine"], found["writes"]
    console.print(f"{_SHORT} GEMM peak {machine['gemm']:.0f} GFLOP/s, memory {machine['bandwidth']:.0f} GB/s")
    console.print("summaries written per second: " + ", ".join(f"{n} {rate:,.0f}" for n, rate in writes.items()))
    colours = {"naive": "#999999", "peer": "#e69f00", "direct": "#56b4e9", "ours": "#0072b2"}
    drawn = [(m, [r for r in found["rows"] if r["model"] == m and r["abstracts"] <= ROWS]) for m in (SMOL, T5)]
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    for axes, (model, rows) in zip(figure.subplots(2, 1, height_ratios=[len(r) for _, r in drawn]), drawn, strict=True):
        rows.sort(key=lambda r: float(r["over_naive"]))
        bars = axes.barh(
            [r["contestant"] for r in rows], [r["over_naive"] for r in rows], color=[colours[r["kind"]] for r in rows]
        )
        axes.bar_label(bars, fmt="%.1fx", padding=3)
        axes.set_title(f"{model}, {ROWS} abstracts: times the naive loop", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(OUT / "bench-engines.png", dpi=110)


def main() -> None:
    """Measure what is not measured yet, in turn, and show it."""
    os.environ["SUM_ASSETS_DEMO"] = "1"
    OUT.mkdir(exist_ok=True)
    for engine in LIBRARIES:
        try:
            python_of(engine)
        except UnsupportedError:
            install(engine, console.print)
    kept = OUT / "bench-engines-passes.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for arguments in (["db", "start"], ["init"], ["load", str(pubmed_file())]):
        subprocess.run([sys.executable, "-m", "sum_assets.cli.main", *arguments], check=True)
    with connect() as connection:
        corpus = Corpus(connection)
        for turn in range(ROUNDS):
            every: list[tuple[str, Any]] = [("machine", measure_machine)]
            every += [("writes", lambda: measure_writes(connection))]
            every += [(c.key, lambda c=c: measure(c, corpus, connection)) for c in CONTESTANTS]
            for key, take in every:
                passes = results.setdefault(key, [])
                if len(passes) > turn:
                    continue
                passes.append(take())
                kept.write_text(json.dumps(results, indent=1))
                found = passes[-1]
                said = f"{found['abstracts'] / found['seconds']:.2f} abstracts/s" if "seconds" in found else str(found)
                console.print(f"round {turn + 1}, {key}: {said}")
        found = summarize(corpus, results)
    (OUT / "bench-engines.json").write_text(json.dumps(found, indent=1))
    show(found)


if __name__ == "__main__":
    main()
