"""The roofline: against figures worked out by hand, and against the FLOPs that torch counts."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    GPT2Config,
    LlamaConfig,
    LongT5Config,
    PretrainedConfig,
    Qwen2Config,
    T5Config,
)

from sum_assets.errors import UnsupportedError
from sum_assets.paths import project_file, rates_dir
from sum_assets.simulation.fleet import read_fleet
from sum_assets.summarizer import GpuSettings, open_summarizer, resolve_settings
from sum_assets.summarizer.device_rates import device_rates
from sum_assets.summarizer.devices import find_device
from sum_assets.summarizer.model_work import count_work
from sum_assets.summarizer.roofline import Lengths, Rates, Roofline, share_of_limit
from sum_assets.summarizer.types import Device
from sum_assets_tests.summarizer.engines.test_transformers_engine import copier_settings

FLAN_T5_LARGE = T5Config(
    vocab_size=32128, d_model=1024, d_kv=64, d_ff=2816, num_layers=24, num_heads=16, feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,  # type: ignore[call-arg]
)  # fmt: skip
#: Peak rates by NVIDIA's datasheets, dense: H100 SXM; A100 80GB SXM; V100 SXM2; T4, its memory by the Turing
#: whitepaper; K80, with boost, half of the board since it has two chips.
H100, A100 = Rates(989e12, 3.35e12), Rates(312e12, 2.039e12)
V100_HALF, V100_SINGLE = Rates(125e12, 900e9), Rates(15.7e12, 900e9)
T4_HALF, T4_SINGLE = Rates(65e12, 320e9), Rates(8.1e12, 320e9)
K80_CHIP = Rates(8.73e12 / 2, 480e9 / 2)


def lengths(rows: int, inputs: int, outputs: int) -> Lengths:
    found = Lengths()
    for _ in range(rows):
        found.add(inputs, outputs)
    return found


def test_the_parameters_of_t5_large_are_counted() -> None:
    work = count_work(FLAN_T5_LARGE)
    assert work.prompt_parameters == pytest.approx(308e6 + 50e6, rel=0.002), "encoder, cross keys and values"
    assert work.step_parameters == pytest.approx(392e6, rel=0.002), "decoder and head"
    assert work.prompt_pair_flops == work.step_pair_flops == 98_304
    assert 2 * work.cached_values == 98_304, "bytes in half precision"


@pytest.mark.parametrize(
    ("rates", "size", "batch", "tokens", "expected", "tolerance"),
    [
        (H100, 2, 16, 330, 284, 0.01),
        (H100, 2, 64, 330, 466, 0.01),
        (H100, 2, 256, 330, 554, 0.01),
        (A100, 2, 256, 330, 299, 0.01),
        (V100_HALF, 2, 256, 330, 129, 0.01),
        (V100_SINGLE, 4, 256, 330, 37, 0.02),
        (T4_HALF, 2, 256, 330, 50, 0.02),
        (T4_SINGLE, 4, 256, 330, 16, 0.02),
        # Worked out for a lower clock than the datasheet's highest.
        (K80_CHIP, 4, 32, 330, 7.9, 0.04),
        (K80_CHIP, 4, 32, 672, 4.4, 0.04),
    ],
)
def test_the_limit_of_known_cards(
    rates: Rates, size: int, batch: int, tokens: int, expected: float, tolerance: float
) -> None:
    roofline = Roofline(count_work(FLAN_T5_LARGE), rates, size, size, batch)
    compute, memory = roofline.bounds(lengths(256, tokens, 125))
    assert 256 / (compute + memory) == pytest.approx(expected, rel=tolerance)


#: Flan-T5-XL and BART-large, and what TensorRT-LLM does with them on one H100 in bfloat16: batch size, seconds of a
#: batch and tokens per second, for inputs of 260 to 440 tokens (its docs/source/models/encoder-decoder.md).
FLAN_T5_XL = T5Config(
    vocab_size=32128, d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32, feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,  # type: ignore[call-arg]
)  # fmt: skip
BART_LARGE = BartConfig(vocab_size=50264)
PUBLISHED = [
    (FLAN_T5_XL, [(32, 0.7276, 3153), (64, 1.2250, 3863), (128, 2.0568, 4601)]),
    (FLAN_T5_XL, [(32, 0.7061, 3312), (64, 1.1367, 4184), (128, 1.9993, 4768)]),
    (BART_LARGE, [(32, 0.2299, 12611), (64, 0.2522, 22007), (128, 0.3523, 31544)]),
    (BART_LARGE, [(32, 0.2802, 10662), (64, 0.3430, 16209), (128, 0.4727, 23518)]),
]


def test_published_rates_are_an_eighth_to_a_quarter_of_the_limit() -> None:
    """What the assumed share of `fleets/` rests on."""
    shares: dict[str, list[float]] = {"t5": [], "bart": []}
    for config, rows in PUBLISHED:
        work = count_work(config)
        for batch, seconds, tokens_per_second in rows:
            outputs = round(tokens_per_second * seconds / batch)
            share = share_of_limit(Roofline(work, H100, 2, 2, batch), lengths(batch, 350, outputs), seconds)
            shares[config.model_type].append(share.value or 0)
    assert [min(shares["t5"]), max(shares["t5"])] == pytest.approx([0.19, 0.21], abs=0.005)
    assert [min(shares["bart"]), max(shares["bart"])] == pytest.approx([0.12, 0.26], abs=0.005)


@pytest.mark.parametrize(
    ("fleet", "group", "rates", "size"),
    [
        ("eight-h100", "h100", H100, 2),
        ("hundred-mixed", "a100", Rates(312e12, 1.555e12), 2),
        ("hundred-mixed", "v100", V100_SINGLE, 4),
        ("hundred-mixed", "t4", T4_SINGLE, 4),
        ("hundred-mixed", "cpu", Rates(1.5e12, 85e9), 4),
    ],
)
def test_the_fleets_assume_a_fifth_of_the_limit(fleet: str, group: str, rates: Rates, size: int) -> None:
    assumed = read_fleet(project_file(f"fleets/{fleet}.yaml")).devices[group]
    roofline = Roofline(count_work(FLAN_T5_LARGE), rates, size, size, assumed.batch_size)
    limit = 256 / sum(roofline.bounds(lengths(256, 330, 125)))
    assert assumed.abstracts_per_second == pytest.approx(0.2 * limit, rel=0.02)


ROWS, INPUTS, OUTPUTS = 3, 48, 40
SIZES: dict[str, Any] = {"vocab_size": 96, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3}
T5: dict[str, Any] = {"d_model": 64, "d_kv": 8, "d_ff": 160, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4}
T5 |= {"vocab_size": 96, "decoder_start_token_id": 0}


@pytest.mark.parametrize(
    "config",
    [
        T5Config(**T5),
        T5Config(**T5, feed_forward_proj="gated-gelu"),
        BartConfig(
            **SIZES, d_model=64, encoder_layers=3, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=160, decoder_ffn_dim=160, max_position_embeddings=128,
        ),
        LlamaConfig(
            **SIZES, hidden_size=72, intermediate_size=160, num_hidden_layers=3, num_attention_heads=9,
            num_key_value_heads=3, tie_word_embeddings=True,
        ),
        Qwen2Config(
            **SIZES, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2,
        ),
        GPT2Config(**SIZES, n_embd=64, n_layer=3, n_head=4, n_positions=128),
    ],
    ids=["t5", "t5 gated", "bart", "llama", "qwen2", "gpt2"],
)  # fmt: skip
def test_flops_are_those_that_torch_counts(config: PretrainedConfig) -> None:
    auto_class: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = auto_class.from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(4, 96, (ROWS, INPUTS))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=OUTPUTS,
            max_new_tokens=OUTPUTS,
        )  # fmt: skip
    work = count_work(config)
    if not config.is_encoder_decoder:  # eager attention computes the masked half, too
        work = replace(work, prompt_pair_flops=2 * work.prompt_pair_flops)
    bound_by_compute = Roofline(work, Rates(1, 1e30), 4, 4, ROWS)
    # Less than 1/40: a causal model's first token comes with the prompt.
    assert bound_by_compute.bounds(lengths(ROWS, INPUTS, OUTPUTS))[0] == pytest.approx(
        counter.get_total_flops(), rel=0.03
    )


def test_batches_workers_and_beams() -> None:
    work = count_work(FLAN_T5_LARGE)
    one = Roofline(work, A100, 2, 2, 16)
    some = lengths(64, 330, 125)
    both = Roofline(work, A100 + A100, 2, 2, 16)
    assert sum(both.bounds(some)) == pytest.approx(sum(one.bounds(some)) / 2)
    by_tokens = Roofline(work, A100, 2, 2, 999, batch_tokens=16 * 530, max_output_tokens=200)
    assert by_tokens.bounds(some) == pytest.approx(one.bounds(some))
    assert sum(replace(one, beams=4).bounds(some)) > sum(one.bounds(some))
    few = lengths(8, 330, 125)
    assert one.bounds(few) == replace(one, batch_size=8).bounds(few), "no batch is larger than what there is"


def test_what_binds() -> None:
    work = count_work(FLAN_T5_LARGE)
    roofline = Roofline(work, Rates(1e12, 1e12), 2, 2, 16)
    some = lengths(16, 330, 125)
    compute, memory = roofline.bounds(some)
    assert compute > memory
    share = share_of_limit(roofline, some, 1.25 * (compute + memory))
    assert share.value == pytest.approx(0.8)
    assert share.binds == "compute"
    slow_memory = replace(roofline, rates=Rates(1e15, 1e11))
    assert share_of_limit(slow_memory, some, 1.01 * sum(slow_memory.bounds(some))).binds == "memory"
    assert share_of_limit(roofline, some, 10 * (compute + memory)).binds == "overhead"
    assert share_of_limit(roofline, some, 0.9 * compute).value is None, "never more than all"
    assert share_of_limit("it has no model", lengths(1, 1, 1), 1).reason == "it has no model"
    assert share_of_limit(roofline, Lengths(), 1).value is None


def test_a_family_that_the_formula_does_not_know_is_named() -> None:
    with pytest.raises(UnsupportedError, match="does not know the model type longt5"):
        count_work(LongT5Config())


def test_rates_are_measured_once() -> None:
    device = replace(find_device("cpu"), name="the CPU of a test")
    rates = device_rates(device, "float32", "float32", 1)
    assert rates.flops > 1e8
    assert rates.bytes > 1e7
    assert device_rates(device, "float32", "float32", 1) == rates, "from the file"
    assert device_rates(device, "int8", "float32", 1).flops > 0
    assert [file.suffix for file in rates_dir().iterdir()] == [".json"] * len(list(rates_dir().iterdir()))


def test_rates_of_a_device_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        number = float(command[3].rpartition(":")[2]) + 1
        return subprocess.CompletedProcess(command, 0, json.dumps({"flops": number, "bytes": number}), "")

    monkeypatch.setattr(subprocess, "run", probe)
    found = [
        device_rates(Device("cuda", n, "A100", (8, 0), True, 2**36, f"uuid {n}"), "bfloat16", "bfloat16", 0)
        for n in (0, 1, 0)
    ]
    assert found == [Rates(1, 1), Rates(2, 2), Rates(1, 1)]


def test_an_engine_says_its_limit(t5: Path) -> None:
    resolved = resolve_settings(GpuSettings(device="cpu", precision="float32", batch_size=4), copier_settings(t5))
    engine = open_summarizer(resolved)
    roofline = engine.state().roofline
    assert isinstance(roofline, Roofline)
    assert (roofline.weight_bytes, roofline.batch_size) == (4, 4)
    lead = open_summarizer(resolve_settings(GpuSettings(engine="lead"), copier_settings(t5)))
    assert lead.state().roofline == "it has no model"
