"""Our decoding against that of transformers: the same ids, for every family that it takes."""

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from sum_assets.errors import UserError
from sum_assets.summarizer.engines.decoding import Decoder, can_capture, can_decode, padded
from sum_assets.summarizer.engines.decoding.decoder import places_to_keep
from sum_assets.summarizer.engines.decoding.families import FAMILIES, choose_batches
from sum_assets.summarizer.types import Batches

VOCABULARY, MAX_NEW_TOKENS = 97, 16
CAUSAL: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 6, "head_dim": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.6,
}  # fmt: skip
T5: dict[str, Any] = {"d_model": 48, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 6, "initializer_factor": 4.0}
BART: dict[str, Any] = {
    "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 6, "decoder_attention_heads": 6,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 512, "init_std": 0.5,
    "forced_eos_token_id": None,
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {"t5": T5, "mt5": T5, "bart": BART, "mbart": BART, "pegasus": BART}


def model_of(family: str) -> Any:
    """Return an untrained model, its weights so large that each input leads to other outputs."""
    torch.manual_seed(0)
    ids = {
        "vocab_size": VOCABULARY,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
        "decoder_start_token_id": 2,
    }
    config: Any = AutoConfig.for_model(family, **SIZES.get(family, CAUSAL), **ids)
    auto: Any = AutoModelForSeq2SeqLM if family in SIZES else AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="sdpa").eval()
    generation = model.generation_config
    generation.num_beams, generation.max_new_tokens = 1, MAX_NEW_TOKENS
    generation.eos_token_id, generation.pad_token_id = [1, *range(30, 40)], 0
    return model


def generated(model: Any, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Return what transformers' own loop writes, cut after the stop token."""
    causal = not model.config.is_encoder_decoder
    ids, mask = padded(prompts, 0, left=causal)
    with torch.inference_mode():
        rows = model.generate(input_ids=ids, attention_mask=mask)[:, ids.shape[1] if causal else 1 :].tolist()
    stops = model.generation_config.eos_token_id
    lengths = [next((i + 1 for i, token in enumerate(row) if token in stops), None) for row in rows]
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


tokens = st.integers(3, VOCABULARY - 1)
# Some inputs are longer than the blocks that attend together.
prompts_with_a_shared_head = st.tuples(
    st.lists(tokens, max_size=6), st.lists(st.lists(tokens, min_size=1, max_size=150), min_size=1, max_size=9)
).map(lambda parts: sorted(([*parts[0], *rest] for rest in parts[1]), key=len, reverse=True))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_writes_what_transformers_writes(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that a batch has several blocks.
    monkeypatch.setattr("sum_assets.summarizer.engines.decoding.causal.BLOCK_ROWS", {"cpu": 3})
    model = model_of(family)
    assert can_decode(model.config, (), 512)
    plain, ours = model_of(family), Decoder(model)
    outputs: set[tuple[int, ...]] = set()

    @settings(max_examples=20)
    @given(prompts_with_a_shared_head, st.integers(0, 2))
    def same(prompts: list[list[int]], lag: int) -> None:
        ours._lag = lag
        written = ours(prompts)
        assert written == generated(plain, prompts)
        outputs.update(tuple(ids) for ids in written if ids)

    same()
    assert len(outputs) > 8


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records a step as a CUDA graph does: operations on the same tensors, and no number that Python has."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.repeats = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default), func
        output = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, output))
        return output

    def repeat(self) -> None:
        self.repeats += 1
        if self.repeats == 1:
            return  # unlike a GPU, it took the step as it recorded it
        for func, args, kwargs, output in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(output), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_captured_steps_write_what_transformers_writes(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that rows are dropped from batches as small as these.
    monkeypatch.setattr("sum_assets.summarizer.engines.decoding.decoder._LEAST_CAPTURED_ROWS", 1)
    model = model_of(family)
    assert can_capture(model.config)
    tapes: list[Tape] = []

    def capture(step: Callable[[], None]) -> Callable[[], None]:
        tapes.append(Tape())
        with tapes[-1]:
            step()
        return tapes[-1].repeat

    plain, ours = model_of(family), Decoder(model, capture=capture)

    @settings(max_examples=20)
    @given(prompts_with_a_shared_head)
    def same(prompts: list[list[int]]) -> None:
        assert ours(prompts) == generated(plain, prompts)

    same()
    assert len(tapes) > 5
    assert max(tape.repeats for tape in tapes) > 2


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.booleans())
def test_rows_that_go_on_are_kept_and_captured_steps_have_few_sizes(ended: list[bool], captured: bool) -> None:
    kept = places_to_keep(ended, captured=captured)
    assert kept == sorted(set(kept))
    assert {place for place, is_over in enumerate(ended) if not is_over} <= set(kept) <= set(range(len(ended)))
    if captured:
        assert len(kept) == len(ended) or len(kept) in (16, 32, 64, 128)
    else:
        assert len(kept) == len(ended) or len(kept) == ended.count(False)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_capture_that_computes_something_else_is_given_up(family: str) -> None:
    def stale(step: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def refused(step: Callable[[], None]) -> Callable[[], None]:
        raise UserError("a step cannot be captured")

    prompts = [[5, 6, 7, 8], [5, 6, 9]]
    written = Decoder(model_of(family))(prompts)
    for capture, reason in ((stale, r"step \d computes other logits"), (refused, "cannot be captured")):
        decoder = Decoder(model_of(family), capture=capture)
        assert re.search(reason, decoder.check_capture() or "")
        assert decoder(prompts) == written, "it goes on without"
    assert Decoder(model_of(family), capture=lambda step: step).check_capture() is None


#: Every rule that is held, and what decides what it does to the models of these tests.
RULES: dict[str, Any] = {
    "repetition_penalty": 1.5, "encoder_repetition_penalty": 1.5, "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 1, "min_length": 40, "min_new_tokens": 5, "forced_bos_token_id": 44,
    "forced_eos_token_id": 1, "suppress_tokens": list(range(50, 97)), "begin_suppress_tokens": list(range(3, 50)),
    "bad_words_ids": [[i] for i in range(60, 90)], "sequence_bias": [[[i], -9.0] for i in range(60, 90)],
    "exponential_decay_length_penalty": (2, 2.0), "renormalize_logits": True, "remove_invalid_values": True,
}  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "t5", "bart"])
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_of_a_model_holds_for_each_row_as_if_it_were_alone(family: str, rule: str) -> None:
    generator = random.Random(0)
    prompts = [[generator.randrange(3, VOCABULARY) for _ in range(n)] for n in (31, 31, 24, 17, 17, 6, 2)]
    model = model_of(family)
    free = [generated(model, [prompt])[0] for prompt in prompts]
    model.generation_config.update(**{rule: RULES[rule]})
    model.generation_config.pad_token_id = 44  # a token like any other, which no rule may see
    bound = [generated(model, [prompt])[0] for prompt in prompts]
    idle = {"renormalize_logits", "remove_invalid_values"}
    # A causal model goes on from its prompt; this T5 writes none of the tokens that it reads.
    idle |= {"llama": {"forced_bos_token_id"}, "t5": {"encoder_no_repeat_ngram_size"}}.get(family, set())
    assert (free == bound) == (rule in idle)
    assert Decoder(model, {rule})(prompts) == bound


def test_chunks_of_many_rows_are_read_as_single_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = sorted(([5, 6, 7, *range(8, 8 + n)] for n in range(2, 80, 7)), key=len, reverse=True)
    for family in ("llama", "t5"):
        one_by_one = Decoder(model_of(family))(prompts)
        monkeypatch.setattr("sum_assets.summarizer.engines.decoding.decoder.prefill_chunk", lambda *_: 200)
        assert Decoder(model_of(family))(prompts) == one_by_one
        monkeypatch.undo()


def config_of(family: str, **values: Any) -> Any:
    return AutoConfig.for_model(family, **SIZES.get(family, CAUSAL), **values)


def test_a_model_that_sees_less_than_its_input_or_is_unknown_is_left_to_transformers() -> None:
    def decoded(family: str, *rules: str, **values: Any) -> bool:
        return can_decode(config_of(family, **values), rules, 100)

    # Mistral does not name the types of its layers; Qwen2 and Qwen3 have a window only where it is switched on.
    assert not decoded("mistral", sliding_window=99)
    assert decoded("mistral", sliding_window=100)
    assert decoded("mistral", sliding_window=None)
    for family in ("qwen2", "qwen3"):
        assert decoded(family, sliding_window=99)
        assert not decoded(family, sliding_window=99, use_sliding_window=True, max_window_layers=1)
        assert decoded(family, sliding_window=100, use_sliding_window=True, max_window_layers=1)
    assert not decoded("llama", sliding_window=99)  # transformers gives it a cache of that size
    assert not decoded("t5", "num_beams")
    assert not decoded("llama", "stop_strings")
    assert not decoded("gpt2")
    assert not decoded("bart", is_encoder_decoder=False)  # a decoder alone
    dynamic = {"rope_theta": 1e4, "factor": 2.0, "rope_type": "dynamic"}
    assert decoded("llama", rope_parameters=dynamic)
    assert not can_decode(config_of("llama", rope_parameters=dynamic), (), 513)
    assert not can_capture(config_of("llama", rope_parameters=dynamic))


def test_what_no_trial_has_shown_runs_without_padding_or_alone() -> None:
    def batches(family: str, *rules: str, **values: Any) -> Batches:
        return choose_batches(config_of(family, **values), rules, 100)

    assert batches("llama") == batches("gemma2") == batches("t5", "num_beams", "length_penalty") == "any lengths"
    assert batches("llama", "repetition_penalty") == batches("t5", "encoder_no_repeat_ngram_size") == "equal lengths"
    assert batches("t5", "repetition_penalty", "no_repeat_ngram_size") == "any lengths"
    assert (
        batches("bart", is_encoder_decoder=False) == batches("mamba") == batches("bigbird_pegasus") == "equal lengths"
    )
    assert batches("rwkv") == batches("switch_transformers") == batches("t5", "stop_strings") == "single"
    long = {"rope_theta": 1e4, "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    for original, expected in ((100, "any lengths"), (99, "equal lengths")):
        assert batches("phi3", rope_parameters=long, original_max_position_embeddings=original) == expected
