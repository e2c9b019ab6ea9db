"""Generation rules as a model's own settings may have them, each so strong that it changes texts."""

from typing import Any

from sum_assets.summarizer.engine_registry import BEAM_RULES, GENERATION_RULES

#: The rules of a model that is known for having many: BART on CNN/Daily Mail.
_SEVERAL: dict[str, Any] = {
    "num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3, "min_length": 6,
    "forced_eos_token_id": 1, "forced_bos_token_id": 3,
}  # fmt: skip


def all_rules(words: list[int], *, seq2seq: bool) -> dict[str, dict[str, Any]]:
    """Return generation settings by the name of what they prove. `words` are ids that a model often writes.

    `num_beams` is what the run asks for; the rest is the model's own. A minimum length counts a causal model's input.
    """
    rules: dict[str, dict[str, Any]] = {
        "none": {},
        "repetition_penalty": {"repetition_penalty": 1.5},
        "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.5},
        "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
        "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
        "min_length": {"min_length": 10 if seq2seq else 28},
        "min_new_tokens": {"min_new_tokens": 8},
        "forced_bos_token_id": {"forced_bos_token_id": words[0]},
        "forced_eos_token_id": {"forced_eos_token_id": 1},
        "suppress_tokens": {"suppress_tokens": words[::3]},
        "begin_suppress_tokens": {"begin_suppress_tokens": words[1::2]},
        "bad_words_ids": {"bad_words_ids": [*([word] for word in words[::4]), words[1:3]]},
        "sequence_bias": {"sequence_bias": [*([[word], -5.0] for word in words[::4]), [words[1:3], 5.0]]},
        "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [4, 1.5]},
        "guidance_scale": {"guidance_scale": 1.5},
        "stop_strings": {"stop_strings": ["une", "oro"]},
        "max_time": {"max_time": 1000.0},
        "num_beams": {"num_beams": 3},
        "length_penalty": {"num_beams": 3, "length_penalty": 3.0},
        "early_stopping": {"num_beams": 3, "early_stopping": True},
        "several": _SEVERAL,
        "several, num_beams 1": _SEVERAL | {"num_beams": 1},
        # Not rules, yet settings that must not mislead.
        "num_return_sequences": {"num_beams": 3, "num_return_sequences": 3},
        "return_dict_in_generate": {"return_dict_in_generate": True, "output_scores": True},
        "do_sample": {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 20},
        "renormalize_logits": {"renormalize_logits": True},
        "max_length": {"max_length": 5},
    }
    assert rules.keys() >= {*GENERATION_RULES, *BEAM_RULES}
    return rules
