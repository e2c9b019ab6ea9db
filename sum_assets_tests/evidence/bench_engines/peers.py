"""Other libraries, called as their documentation says: `python peers.py NAME < task.json`.

Runs in the environment of the library that it times, so it imports nothing of ours. The task is {model, prompts,
warm_up, max_output_tokens, stops, precision, options}; the last line of the output has seconds to load, seconds for
the first pass over the prompts, and the ids that were written.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Ids = list[list[int]]
Generate = Callable[[Ids], Ids]


def openvino(task: dict[str, Any]) -> Generate:
    """OpenVINO GenAI, continuous batching; without options, a default SchedulerConfig and no properties."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    for name, value in task["options"].get("scheduler", {}).items():
        setattr(scheduler, name, value)
    pipeline = genai.ContinuousBatchingPipeline(task["model"], scheduler, "CPU", task["options"].get("properties", {}))
    config = genai.GenerationConfig()
    config.do_sample = False
    config.max_new_tokens = task["max_output_tokens"]
    config.stop_token_ids = set(task["stops"])
    config.eos_token_id = task["stops"][0]

    def generate(prompts: Ids) -> Ids:
        inputs = [ov.Tensor(np.array([ids], np.int64)) for ids in prompts]
        return [list(r.m_generation_ids[0]) for r in pipeline.generate(inputs, [config] * len(inputs))]

    return generate


def vllm(task: dict[str, Any]) -> Generate:
    """vLLM's `LLM.generate`; cores, of which it leaves one free, and room for keys and values are as documented."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{(os.cpu_count() or 1) - 1}"
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "4"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    from vllm import LLM, SamplingParams
    from vllm.inputs import tokens_input

    model = LLM(task["model"], skip_tokenizer_init=True, **task["options"])
    sampling = SamplingParams(
        temperature=0, max_tokens=task["max_output_tokens"], stop_token_ids=task["stops"], detokenize=False
    )

    def generate(prompts: Ids) -> Ids:
        outputs = model.generate([tokens_input(ids) for ids in prompts], sampling, use_tqdm=False)
        return [list(output.outputs[0].token_ids) for output in outputs]

    return generate


def transformers(task: dict[str, Any]) -> Generate:
    """transformers' `generate` on batches of 16, sorted by length and padded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    left = not AutoConfig.from_pretrained(task["model"]).is_encoder_decoder
    auto: Any = AutoModelForCausalLM if left else AutoModelForSeq2SeqLM
    model = auto.from_pretrained(task["model"], dtype=getattr(torch, task["precision"])).eval()
    pad = task["stops"][0]

    def generate(prompts: Ids) -> Ids:
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        written: dict[int, list[int]] = {}
        for first in range(0, len(order), 16):
            batch = order[first : first + 16]
            width = len(prompts[batch[0]])
            gaps = [[pad] * (width - len(prompts[i])) for i in batch]
            ids = [gap + prompts[i] if left else prompts[i] + gap for i, gap in zip(batch, gaps, strict=True)]
            seen = [[0] * len(gap) for gap in gaps]
            mask = [s + [1] * (width - len(s)) if left else [1] * (width - len(s)) + s for s in seen]
            with torch.inference_mode():
                rows = model.generate(
                    input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), do_sample=False, pad_token_id=pad,
                    max_new_tokens=task["max_output_tokens"], eos_token_id=task["stops"],
                )  # fmt: skip
            written.update(zip(batch, rows[:, width if left else 1 :].tolist(), strict=True))
        return [written[i] for i in range(len(prompts))]

    return generate


def ctranslate2(task: dict[str, Any]) -> Generate:
    """CTranslate2's `translate_batch`, weights in 8 bits, all inputs at once; prompts are tokens, not ids."""
    import ctranslate2 as library

    translator = library.Translator(task["model"], compute_type="int8", intra_threads=os.cpu_count() or 1)
    tokens = json.loads(Path(task["model"], "shared_vocabulary.json").read_text(encoding="utf-8"))
    ids_of = {token: i for i, token in enumerate(tokens)}

    def generate(prompts: Ids) -> Ids:
        results = translator.translate_batch(
            [[tokens[i] for i in ids] for ids in prompts],
            beam_size=1,
            max_input_length=0,
            max_decoding_length=task["max_output_tokens"],
            **task["options"],
        )
        return [[ids_of[token] for token in result.hypotheses[0]] for result in results]

    return generate


PEERS = {"openvino": openvino, "vllm": vllm, "transformers": transformers, "ctranslate2": ctranslate2}


def main() -> None:
    """Load, warm up, and time one pass over the prompts."""
    task = json.load(sys.stdin)
    started = time.perf_counter()
    generate = PEERS[sys.argv[1]](task)
    loaded = time.perf_counter()
    generate(task["warm_up"])
    warm = time.perf_counter()
    written = generate(task["prompts"])
    seconds = time.perf_counter() - warm
    stops = set(task["stops"])
    ends = [next((i for i, token in enumerate(ids) if token in stops), len(ids)) for ids in written]
    result = {
        "start_up": loaded - started,
        "seconds": seconds,
        "written": [ids[:end] for ids, end in zip(written, ends, strict=True)],
    }
    print(json.dumps(result), flush=True)
    os._exit(0)  # some of them hang on the way out


if __name__ == "__main__":
    main()
