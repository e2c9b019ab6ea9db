"""Tests the quality gate: `make prove-gate`, with engines that write fluent but wrong text, and with correct ones."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from sum_assets.benchmark.quality_gate import Quality, compare, gate
from sum_assets.cli.demo import pubmed_file
from sum_assets.database.benchmark_results import SampleSummary
from sum_assets.defs.resources import demo_summarizer
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import ReaderOptions, Record
from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    Rejection,
    SummarizerSettings,
    open_summarizer,
    resolve_settings,
)
from sum_assets.summarizer.model_files import find_model

BATCH = 16
Texts = dict[int, SampleSummary]


def write(records: Sequence[Record], gpu: dict[str, Any], settings: SummarizerSettings) -> Texts:
    """Summarize records with a real engine."""
    engine = open_summarizer(resolve_settings(GpuSettings(batch_size=BATCH, **gpu), settings))
    by_id = {record.abstract_id: record for record in records}
    texts = {}
    for results in engine.summarize([Abstract(i, r.abstract) for i, r in by_id.items()], Phases()):
        for s in results:
            record = by_id[s.abstract_id]
            if isinstance(s, Rejection):
                texts[s.abstract_id] = SampleSummary(s.abstract_id, "", False, 0, record.abstract, record.title)
            else:
                capped = s.finish_reason == "length"
                texts[s.abstract_id] = SampleSummary(
                    s.abstract_id, s.text, capped, s.input_tokens, record.abstract, record.title
                )
    return texts


def with_wrong_rope(model: str, folder: Path) -> str:
    """Copy a model folder with its rope_theta divided by ten."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] /= 10
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def rearranged(texts: Texts, place: Callable[[int], int]) -> Texts:
    """Give the abstract at each position `k` the summary of the one at `place(k)`."""
    ids = list(texts)
    return {i: replace(texts[i], summary=texts[ids[place(k)]].summary) for k, i in enumerate(ids)}


def wrong_and_right(records: Sequence[Record], settings: SummarizerSettings, folder: Path) -> dict[str, Texts]:
    """Return the texts of the reference, of wrong engines, and of the precision that `auto` takes, by name."""
    model = str(find_model(settings.model, settings.revision).folder)
    reference = write(records, {"precision": "float32"}, settings)
    cut = settings.model_copy(update={"max_input_tokens": 160})
    wrong_rope = settings.model_copy(update={"model": with_wrong_rope(model, folder / "wrong_rope")})
    return {
        "reference": reference,
        "auto": write(records, {}, settings),
        "rope_theta / 10": write(records, {}, wrong_rope),
        "prompts cut": write(records, {}, cut),
        "rows swapped": rearranged(reference, lambda k: (k + 1) % len(reference)),
        "neighbours swapped": rearranged(reference, lambda k: min(k ^ 1, len(reference) - 1)),
        "first row of a batch only": rearranged(reference, lambda k: k - k % BATCH),
        "first row of two only": rearranged(reference, lambda k: k - k % 2),
    }


def judge(texts: Texts, reference: Texts) -> tuple[Quality, str]:
    """Return quality and verdict."""
    quality, itself = compare(texts, reference), compare(reference, reference)
    assert quality
    assert itself
    return quality, str(gate(quality, itself))


def main(rows: int) -> None:
    """Print a table of all engines and quantizations."""
    with pubmed_file().open("rb") as stream:
        all_records = [r for r in read_records(stream, pubmed_file(), ReaderOptions()) if isinstance(r, Record)]
    records = all_records[:: len(all_records) // rows][:rows]
    settings = demo_summarizer()
    with TemporaryDirectory() as folder:
        named = wrong_and_right(records, settings, Path(folder))
    for quantization in ("int8", "nf4", "fp4"):
        named[quantization] = write(records, {"quantization": quantization}, settings)
    shown = ("same", "opening_rouge_l", "rouge_l", "chrf", "nearest", "same_input", "length_ratio", "repeated")
    table = Table("engine", *shown, "title_ratio", "gate")
    for name, texts in named.items():
        quality, verdict = judge(texts, named["reference"])
        figures = (f"{value:.2f}" for value in [*(getattr(quality, s) for s in shown), quality.title_ratio or 0])
        table.add_row(name, *figures, verdict)
    Console(width=200).print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 48)
