"""One model on OpenVINO, for `serve.py`; `python openvino_worker.py MODEL OUT WEIGHTS` converts it first."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

Finished = list[tuple[int, list[int]]]
Generate = Callable[[list[list[int]]], Iterator[Finished]]

os.environ["CI"] = "true"  # otherwise OpenVINO reports each use to Google Analytics

_PRECISIONS = {"float32": ("FP32", "f32"), "bfloat16": ("BF16", "bf16"), "float16": ("FP16", "f16")}


def export(model: str, out: str, weights: str) -> None:
    """Convert a model's folder to OpenVINO's format, with weights in fp32 or int8_sym."""
    import nncf
    import openvino
    import torch
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    encoder_decoder = json.loads(Path(model, "config.json").read_text(encoding="utf-8")).get("is_encoder_decoder")
    Path(out).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as full:
        main_export(
            model,
            output=full if weights == "int8_sym" else out,
            task=("text2text" if encoder_decoder else "text") + "-generation-with-past",
            ov_config=OVConfig(dtype="fp32"),
            library_name="transformers",
            model_loading_kwargs={"torch_dtype": torch.float32},
        )
        for file in Path(full).iterdir():
            if file.suffix == ".xml":
                # Symmetric weights have no zero points, which makes products with 8-bit activations faster.
                mode = nncf.CompressWeightsMode.INT8_SYM
                compressed = nncf.compress_weights(openvino.Core().read_model(file), mode=mode)
                openvino.save_model(compressed, Path(out, file.name), compress_to_fp16=False)
            elif file.suffix == ".json":
                shutil.copy(file, out)


def load(settings: dict[str, Any]) -> tuple[str, Generate, Callable[[], dict[str, Any]]]:
    """Return the device's name, a function that generates, and one that returns an empty state.

    Raises ValueError if the settings do not suit OpenVINO or this CPU.
    """
    if settings["threads"] == 1:
        # With one thread on a CPU with AMX it ends with SIGFPE: github.com/openvinotoolkit/openvino/issues/33300.
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
    import openvino

    if not Path(settings["model"], "config.json").is_file():
        raise ValueError(f"there is no model in {settings['model']}; name a folder with config.json and weights.")
    if settings["device"] != "cpu":
        raise ValueError(f"OpenVINO serves the CPU, not {settings['device']}; set device to cpu.")
    core = openvino.Core()
    capability, precision = _PRECISIONS[settings["precision"]]
    if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError(f"this CPU does not compute in {settings['precision']}; set precision to float32.")
    # Otherwise OpenVINO may keep the KV cache in 8 bits.
    properties = {"INFERENCE_PRECISION_HINT": precision, "KV_CACHE_PRECISION": precision}
    if settings["quantization"] == "int8":
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(_group_size(settings["model"]))
    if settings["threads"]:
        properties["INFERENCE_NUM_THREADS"] = settings["threads"]
    load_model = _load_encoder_decoder if settings["encoder_decoder"] else _load_causal
    return core.get_property("CPU", "FULL_DEVICE_NAME"), load_model(settings, properties), dict


def _group_size(model: str) -> int:
    """Return how many activations share a scale: the largest number up to 256 that divides the width of each layer.

    OpenVINO's default is 32, with which SmolLM2 was a sixth slower than with 192.
    """
    config = json.loads(Path(model, "config.json").read_text(encoding="utf-8"))
    names = ("hidden_size", "intermediate_size", "d_model", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim")
    widths = [config[name] for name in names if name in config]
    return max(size for size in range(32, 257, 32) if all(width % size == 0 for width in widths) or size == 32)


def _load_causal(settings: dict[str, Any], properties: dict[str, Any]) -> Generate:
    import numpy as np
    import openvino
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = settings["batch_size"]
    # With the default of 256, prefill splits a prompt.
    scheduler.max_num_batched_tokens = max(2048, settings["batch_size"])
    scheduler.enable_prefix_caching = True  # all prompts share the instruction: one prefill serves all
    pipeline = genai.ContinuousBatchingPipeline(settings["model"], scheduler, "CPU", properties)
    # Not the model's own settings: GenAI would take from them what transformers takes otherwise, or not at all.
    config = genai.GenerationConfig()
    config.repetition_penalty = settings["rules"].get("repetition_penalty", 1.0)
    config.max_new_tokens = settings["max_output_tokens"]
    config.stop_token_ids = set(settings["stops"])
    if settings["stops"]:
        config.eos_token_id = settings["stops"][0]

    def generate(prompts: list[list[int]]) -> Iterator[Finished]:
        waiting, running = enumerate(prompts), dict[int, Any]()
        while True:
            for index, ids in islice(waiting, settings["batch_size"] - len(running)):
                running[index] = pipeline.add_request(index, openvino.Tensor(np.array([ids], np.int64)), config)
            if not running:
                return
            pipeline.step()
            states = [(index, handle.get_status()) for index, handle in running.items()]
            if any(state == genai.GenerationStatus.IGNORED for _, state in states):
                raise MemoryError("the KV cache of a prompt does not fit; set a smaller batch_size.")
            done = [index for index, state in states if state != genai.GenerationStatus.RUNNING]
            if done:
                yield [(index, list(running.pop(index).read_all()[0].generated_ids)) for index in done]

    return generate


def _load_encoder_decoder(settings: dict[str, Any], properties: dict[str, Any]) -> Generate:
    import torch
    from optimum.intel import OVModelForSeq2SeqLM
    from transformers import GenerationConfig

    model = OVModelForSeq2SeqLM.from_pretrained(settings["model"], ov_config=properties, local_files_only=True)
    own, stops, pad = model.generation_config, set(settings["stops"]), settings["pad"]
    model.generation_config = GenerationConfig(
        **settings["rules"],
        max_new_tokens=settings["max_output_tokens"],
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
        eos_token_id=settings["stops"] or None,
        pad_token_id=pad,
    )

    def generate(prompts: list[list[int]]) -> Iterator[Finished]:
        first = 0
        while first < len(prompts):
            rows = 1 if settings["batches"] == "single" else settings["batch_size"]
            batch = prompts[first : first + rows]
            if settings["batches"] != "any lengths":
                length = len(batch[0])
                batch = list(takewhile(lambda row: len(row) == length, batch))  # noqa: B023
            width = max(map(len, batch))
            ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
            written = model.generate(input_ids=ids, attention_mask=mask)[:, 1:].tolist()
            ends = [next((i + 1 for i, token in enumerate(row) if token in stops), None) for row in written]
            yield [(first + i, row[:end]) for i, (row, end) in enumerate(zip(written, ends, strict=True))]
            first += len(batch)

    return generate


if __name__ == "__main__":
    export(*sys.argv[1:])
