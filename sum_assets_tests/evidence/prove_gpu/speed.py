"""Rates of models of real shapes that write summaries of chosen lengths: ours, and transformers' `generate`."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from sum_assets.benchmark.device_meter import DeviceMeter
from sum_assets.errors import UnsupportedError
from sum_assets.summarizer import Abstract, GpuSettings, Phases, SummarizerSettings, Summary, open_summarizer
from sum_assets.summarizer.device_errors import is_out_of_memory
from sum_assets.summarizer.device_rates import open_roofline
from sum_assets.summarizer.engines.decoding import padded
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.roofline import Lengths, Roofline, share_of_limit
from sum_assets_tests.evidence.prove_gpu import countdown
from sum_assets_tests.evidence.prove_gpu.case import Machine, Result
from sum_assets_tests.evidence.prove_gpu.device import memory_used
from sum_assets_tests.evidence.prove_gpu.writing import resolved

#: Median tokens of inputs (PubMed's abstracts) and of summaries (an assumption), or of those of a rehearsal.
_MEDIANS, _REHEARSED_MEDIANS = (330, 110), (40, 8)
#: Abstracts of a window are at least so many, unless a batch is larger.
_WINDOW = 64
_WARM_UP = 4
#: What an engine writes on the texts of a window: the text, and the real tokens of input and output.
Written = list[tuple[str, int, int]]


@dataclass
class Pass:
    """What was written in so many seconds."""

    lengths: Lengths
    seconds: float = 0.0
    right: int = 0


def prepare(machine: Machine, shape: str) -> Result:
    """Make a model of a shape on the device, and save it."""
    folder = machine.models / shape
    if not folder.exists():
        countdown.save_countdown(shape, folder, machine.device)
    return Result("ok", f"{sum(f.stat().st_size for f in folder.iterdir()) / 2**30:.2f} GiB")


def ours(machine: Machine, shape: str, gpu: dict[str, Any], seconds: float, naive: bool = False) -> Result:
    """Measure settings of ours."""
    chosen = resolve(machine, shape, gpu)
    engine = open_summarizer(chosen, naive=naive)

    def write(texts: Sequence[str]) -> Written | None:
        before = engine.state().out_of_memory
        written: Written = [("", 0, 0)] * len(texts)
        for results in engine.summarize([Abstract(i, text) for i, text in enumerate(texts)], Phases()):
            for result in results:
                if isinstance(result, Summary):
                    written[result.abstract_id] = (result.text, result.input_tokens, result.output_tokens)
        return written if engine.state().out_of_memory == before else None

    size = 1 if naive else chosen.batch_size
    measured, meter = _measure(machine, shape, write, size, seconds, chosen)
    state = engine.state()
    settings = {**gpu, "precision": chosen.precision, "batch_size": state.batch_size}
    name = "the naive loop" if naive else f"sum_assets, {chosen.engine}"
    limit = state.roofline
    if isinstance(limit, Roofline):
        limit = replace(limit, batch_size=state.batch_size)
    return _result(shape, name, settings, measured, limit, meter, state.peak_device_bytes, chosen)


def generate(machine: Machine, shape: str, batch_size: int, seconds: float) -> Result:
    """Measure transformers' `generate` in the same precision, on batches sorted by length and padded no further."""
    chosen = resolve(machine, shape, {"batch_size": batch_size})
    seq2seq, device = chosen.encoder_decoder, chosen.device.torch_name
    auto_class: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    folder = machine.models / shape
    model = auto_class.from_pretrained(folder, dtype=getattr(torch, chosen.precision), device_map={"": device}).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def write(texts: Sequence[str]) -> Written:
        inputs = tokenizer([countdown.PROMPT + text for text in texts]).input_ids
        order = sorted(range(len(texts)), key=lambda i: -len(inputs[i]))
        written: Written = [("", 0, 0)] * len(texts)
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            ids, mask = padded([inputs[i] for i in batch], 0, left=not seq2seq)
            with torch.inference_mode():
                rows = model.generate(
                    input_ids=ids.to(device), attention_mask=mask.to(device), do_sample=False,
                    max_new_tokens=countdown.MAX_OUTPUT_TOKENS,
                )[:, 1 if seq2seq else ids.shape[1] :].tolist()  # fmt: skip
            for i, row in zip(batch, rows, strict=True):
                length = row.index(1) + 1 if 1 in row else len(row)
                written[i] = (tokenizer.decode(row[: length - 1]), len(inputs[i]), length)
        return written

    try:
        measured, meter = _measure(machine, shape, write, batch_size, seconds, chosen)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise UnsupportedError(f"a batch of {batch_size} does not fit") from error
        raise
    peak = torch.cuda.max_memory_allocated(chosen.device.index) if chosen.device.kind == "cuda" else None
    settings = {"precision": chosen.precision, "batch_size": batch_size}
    return _result(shape, "transformers, generate", settings, measured, open_roofline(chosen), meter, peak, chosen)


def resolve(machine: Machine, shape: str, gpu: dict[str, Any]) -> ModelSettings:
    settings = SummarizerSettings(
        model=str(machine.models / shape),
        prompt=countdown.PROMPT,
        max_input_tokens=countdown.MAX_INPUT_TOKENS,
        max_output_tokens=countdown.MAX_OUTPUT_TOKENS,
    )
    GpuSettings.model_validate(gpu)
    return resolved(settings, **{"device": machine.device, "precision": "auto", **gpu})


def _windows(machine: Machine, shape: str, rows: int) -> Iterator[tuple[list[str], list[int]]]:
    """Yield texts with the lengths of what must be written on them, drawn anew for each window."""
    inputs, outputs = _REHEARSED_MEDIANS if machine.rehearsal else _MEDIANS
    for seed in count():
        lengths = countdown.draw_lengths(rows, 2 * seed + 1, outputs, countdown.MAX_OUTPUT_TOKENS)
        read = countdown.draw_lengths(rows, 2 * seed, inputs, countdown.MAX_INPUT_TOKENS)
        yield countdown.texts(shape, [max(n, 12) for n in read], lengths), lengths


def _measure(
    machine: Machine,
    shape: str,
    write: Callable[[Sequence[str]], Written | None],
    batch_size: int,
    seconds: float,
    chosen: ModelSettings,
) -> tuple[Pass, DeviceMeter]:
    """Write windows until so many seconds have passed. One in which memory ran out searches the batch size."""
    if chosen.device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(chosen.device.index)
    rows = batch_size if batch_size == 1 else max(batch_size, _WINDOW // 4 if machine.rehearsal else _WINDOW)
    started = time.perf_counter()
    write(next(_windows(machine, shape, min(rows, _WARM_UP)))[0])  # libraries get ready
    if (time.perf_counter() - started) / _WARM_UP * rows > 4 * seconds:
        rows = min(rows, batch_size)  # such a device needs no more rows to be measured
    measured = Pass(Lengths())
    with DeviceMeter(chosen.device) as meter:
        for texts, lengths in _windows(machine, shape, rows):
            started = time.perf_counter()
            written = write(texts)
            if written is None:
                continue
            measured.seconds += time.perf_counter() - started
            for (text, read, wrote), length in zip(written, lengths, strict=True):
                measured.lengths.add(read, wrote)
                measured.right += text == countdown.countdown(length)
            if measured.seconds >= seconds:
                return measured, meter
    raise AssertionError("windows never end")


def _result(
    shape: str,
    engine: str,
    settings: dict[str, Any],
    measured: Pass,
    limit: Roofline | str,
    meter: DeviceMeter,
    peak: int | None,
    chosen: ModelSettings,
) -> Result:
    lengths = measured.lengths
    share = share_of_limit(limit, lengths, measured.seconds)
    rate = lengths.rows / measured.seconds
    line = {
        "model": shape,
        "engine": engine,
        "settings": settings,
        "abstracts_per_second": rate,
        "share_of_limit": share.value,
        "binds": share.binds,
        "rows": lengths.rows,
        "seconds": measured.seconds,
        "input_tokens": lengths.inputs,
        "output_tokens": lengths.outputs,
        "watts": meter.watts,
        "utilization": meter.utilization,
        "peak_device_bytes": peak,
        "memory_used": memory_used(chosen.device.index) if chosen.device.kind == "cuda" else None,
    }
    if measured.right < 0.99 * lengths.rows:
        return Result("failed", f"only {measured.right} of {lengths.rows} summaries are right", rates=[line])
    return Result("ok", f"{rate:.3g} abstracts/s; share of the limit: {share}", rates=[line])
