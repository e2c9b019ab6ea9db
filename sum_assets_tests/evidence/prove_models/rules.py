"""Generation rules as a model's own settings may have them, each so strong that it changes texts."""

from dataclasses import dataclass, field
from typing import Any

from sum_assets.summarizer.engine_registry import BEAM_RULES, GENERATION_RULES


@dataclass(frozen=True)
class Rule:
    """Generation settings of a model's own, and the number of beams that a run asks for."""

    own: dict[str, Any] = field(default_factory=dict)
    num_beams: int = 1


def all_rules(words: list[int], *, seq2seq: bool, byte_level: bool) -> dict[str, Rule]:
    """Return rules by the name of what they prove. `words` are ids that a model often writes.

    A minimum length counts a causal model's input. Stop strings need a tokenizer that knows parts of words.
    """
    # A model that is known for its many rules: BART on CNN/Daily Mail.
    several = {
        "num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3, "min_length": 6,
        "forced_eos_token_id": 1, "forced_bos_token_id": 3,
    }  # fmt: skip
    bad_words = [[word] for word in words[::4]]
    rules = {
        "none": Rule(),
        "repetition_penalty": Rule({"repetition_penalty": 1.5}),
        "encoder_repetition_penalty": Rule({"encoder_repetition_penalty": 1.5}),
        "no_repeat_ngram_size": Rule({"no_repeat_ngram_size": 2}),
        "encoder_no_repeat_ngram_size": Rule({"encoder_no_repeat_ngram_size": 1}),
        "min_length": Rule({"min_length": 10 if seq2seq else 20}),
        "min_new_tokens": Rule({"min_new_tokens": 8}),
        "forced_bos_token_id": Rule({"forced_bos_token_id": words[0]}),
        "forced_eos_token_id": Rule({"forced_eos_token_id": 1}),
        "suppress_tokens": Rule({"suppress_tokens": words[::3]}),
        "begin_suppress_tokens": Rule({"begin_suppress_tokens": words[1::2]}),
        "bad_words_ids": Rule({"bad_words_ids": [*bad_words, words[1:3]]}),
        "sequence_bias": Rule({"sequence_bias": [*([word, -5.0] for word in bad_words), [words[1:3], 5.0]]}),
        "exponential_decay_length_penalty": Rule({"exponential_decay_length_penalty": [4, 1.5]}),
        "remove_invalid_values": Rule({"remove_invalid_values": True}),
        "renormalize_logits": Rule({"renormalize_logits": True}),
        "guidance_scale": Rule({"guidance_scale": 1.5}),
        "max_time": Rule({"max_time": 1000.0}),
        "num_beams": Rule(num_beams=3),
        "length_penalty": Rule({"length_penalty": 3.0}, num_beams=3),
        "early_stopping": Rule({"early_stopping": True}, num_beams=3),
        "several": Rule(several, num_beams=4),
        "several, greedy": Rule(several),
        # Not rules, yet settings that must not mislead.
        "num_return_sequences": Rule({"num_beams": 3, "num_return_sequences": 3}, num_beams=3),
        "return_dict_in_generate": Rule({"return_dict_in_generate": True, "output_scores": True}),
        "do_sample": Rule({"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 20}),
        "max_length": Rule({"max_length": 5}),
    }
    if byte_level:
        rules["stop_strings"] = Rule({"stop_strings": ["un", "ro "]})
    missing = {*GENERATION_RULES, *BEAM_RULES} - rules.keys() - {"stop_strings"}
    assert not missing, f"the matrix lacks {missing}"
    return rules
