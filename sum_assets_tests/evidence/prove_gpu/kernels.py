"""Where the time of one batch goes on a GPU: `python -m sum_assets_tests.evidence.prove_gpu.kernels --help`.

Prints the seconds of a batch, those of its captures, and the kernels that took most of the device's time in a batch of
ten tokens. Beside it, what torch's kernels take for norms and attention of the same sizes.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile
from transformers.models.t5.modeling_t5 import T5LayerNorm

from sum_assets.summarizer import open_summarizer
from sum_assets_tests.evidence.prove_gpu import countdown, speed
from sum_assets_tests.evidence.prove_gpu.case import Machine
from sum_assets_tests.evidence.prove_gpu.writing import texts_of

_SHOWN = 16


def _batch(machine: Machine, shape: str, rows: int, graphs: bool) -> None:
    captures: list[float] = []
    transformers_engine: Any = import_module("sum_assets.summarizer.engines.transformers_engine")
    capture = transformers_engine.capture_cuda_graph

    def timed(step: Callable[[], None]) -> Callable[[], None]:
        torch.cuda.synchronize()
        began = time.perf_counter()
        replay: Callable[[], None] = capture(step)
        captures.append(time.perf_counter() - began)
        return replay

    transformers_engine.capture_cuda_graph = timed
    engine = open_summarizer(speed.resolve(machine, shape, {"batch_size": rows, "cuda_graphs": graphs}))

    def write(lengths: list[int], seed: int) -> float:
        read = countdown.draw_lengths(rows, seed, 330, countdown.MAX_INPUT_TOKENS)
        texts = countdown.texts(shape, [max(n, 12) for n in read], lengths)
        captures.clear()
        began = time.perf_counter()
        written = texts_of(engine, texts)
        assert written == [countdown.countdown(length) for length in lengths], "what was written is wrong"
        return time.perf_counter() - began

    write([4] * rows, 0)
    for seed, tokens in enumerate((12, 112, 12, 112), 1):
        print(f"{rows} summaries of {tokens} tokens: {write([tokens] * rows, seed):.2f} s")
    drawn = countdown.draw_lengths(rows, 13, 110, countdown.MAX_OUTPUT_TOKENS)
    print(f"of {sum(drawn) / rows:.0f} tokens on average, {max(drawn)} at most: {write(drawn, 12):.2f} s, "
          f"captures {', '.join(f'{1000 * seconds:.0f}' for seconds in captures)} ms")  # fmt: skip
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        print(f"of 10 tokens, while it is recorded: {write([10] * rows, 14):.2f} s")
    times: Counter[str] = Counter()
    for event in profiled.events():
        if "CUDA" in str(event.device_type):
            times[event.name] += event.device_time
    print(f"the device computes for {times.total() / 1e3:.0f} ms of it")
    for name, microseconds in times.most_common(_SHOWN):
        print(f"{microseconds / 1e3:9.1f} ms {microseconds / times.total():5.1%}  {name[:90]}")


def _timings(device: str) -> None:
    new_event: Any = partial(torch.cuda.Event, enable_timing=True)

    def show(name: str, work: Callable[[], object]) -> None:
        times = []
        for _ in range(30):
            torch.cuda.synchronize()
            began, ended = new_event(), new_event()
            began.record()
            work()
            ended.record()
            ended.synchronize()
            times.append(began.elapsed_time(ended))
        print(f"{sorted(times)[15] * 1000:9.1f} us  {name} (the first {times[0]:.0f} ms)")

    options: Any = {"device": device, "dtype": torch.bfloat16}
    norm = T5LayerNorm(1024).to(**options)
    for shape in ((256, 1, 1024), (21_120, 1024)):
        states = torch.randn(shape, **options)
        show(f"norm of {shape} by transformers", partial(norm, states))
        show(f"norm of {shape} by torch", partial(rms_norm, states, (1024,), norm.weight, 1e-6))
    for rows, queries, keys in ((256, 1, 257), (40, 401, 401)):
        query = torch.randn(rows, 16, queries, 64, **options)
        key, value = (torch.randn(rows, 16, keys, 64, **options) for _ in range(2))
        wide = torch.zeros(1, 16, queries, keys + 31, **options)[..., :keys]
        heads_last = torch.zeros(1, queries, keys, 16, **options).permute(0, 3, 1, 2)
        for name, bias in (("in the order of keys", wide), ("as transformers hands it over", heads_last)):
            show(
                f"attention of {rows} x {queries} queries to {keys} keys, bias {name}",
                partial(scaled_dot_product_attention, query, key, value, attn_mask=bias),
            )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="kernels", description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--shape", default="T5-large", choices=sorted(countdown.SHAPES))
    parser.add_argument("--rows", type=int, default=256, help="of the batch")
    parser.add_argument("--graphs", action=argparse.BooleanOptionalAction, default=True, help="capture steps")
    options = parser.parse_args()
    with torch.inference_mode(), TemporaryDirectory(prefix="sum_assets_") as folder:
        _timings(options.device)
        machine = Machine(options.device, str(Path(folder)), False)
        speed.prepare(machine, options.shape)
        _batch(machine, options.shape, options.rows, options.graphs)


if __name__ == "__main__":
    main()
