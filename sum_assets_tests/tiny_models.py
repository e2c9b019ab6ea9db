"""Small models, trained until different inputs give different outputs: an untrained one writes the same for all."""

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = [first + second for first in "bdfgklmn" for second in ("ale", "ima", "oro", "une", "ayo")]
SPECIAL = ["<pad>", "</s>", "<unk>", "<s>"]
COPIED = 4
#: Of training, at most, from the same weights.
STEPS = 1800
#: Marks of turns, and a template of a conversation as instruct models have.
CHAT_TOKENS = ["<|user|>", "<|end|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|> ' + m['content'] + ' <|end|> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
#: What the configurations of BART on the hub say beside; converters read it.
HUB_BART: dict[str, Any] = {"normalize_before": False, "normalize_embedding": True}


def sentence(seed: int, words: int) -> str:
    """Return a sentence of random words; the same for the same seed. A word comes again only after all others."""
    return " ".join(random.Random(seed).sample(WORDS * -(-words // len(WORDS)), k=words))


def save_copier(kind: str, folder: Path) -> None:
    """Train a model to write the first words of its input, and save it as `save_pretrained` does."""
    tokenizer = tiny_tokenizer()
    for seed in range(3):  # from some weights, and with some versions of torch, it does not learn it whole
        torch.manual_seed(seed)
        model = _untrained(kind, len(tokenizer))
        if _learns_to_copy(model, tokenizer):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return
    raise AssertionError(f"{kind} has not learnt to copy")


def _untrained(kind: str, words: int) -> Any:
    sizes: dict[str, Any] = {"vocab_size": words, "pad_token_id": 0, "eos_token_id": 1}
    if kind == "t5":
        return T5ForConditionalGeneration(
            T5Config(
                d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0,
                decoder_start_token_id=0,  # type: ignore[call-arg]
                **sizes,
            )
        )  # fmt: skip
    return BartForConditionalGeneration(
        BartConfig(
            d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=128, dropout=0.0, bos_token_id=3,
            decoder_start_token_id=1, forced_eos_token_id=None, **HUB_BART, **sizes,
        )
    )  # fmt: skip


def _learns_to_copy(model: Any, tokenizer: Any) -> bool:
    """Train a model until it is right about texts that it has not seen. Return whether it came to that."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, STEPS)
    shapes = random.Random(0)

    def batch(first: int, rows: int) -> dict[str, torch.Tensor]:
        texts = [sentence(first + row, shapes.randint(COPIED, 16)) for row in range(rows)]
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        labels = tokenizer([" ".join(t.split()[:COPIED]) for t in texts], return_tensors="pt").input_ids
        return {"input_ids": inputs.input_ids, "attention_mask": inputs.attention_mask, "labels": labels}

    unseen = batch(2 * 10**6, 1000)
    for step in range(STEPS):
        # One low loss is no proof: where a CPU rounds otherwise, training takes longer.
        if step % 50 == 49 and _all_right(model, unseen):
            return True
        model(**batch(step * 48, 48)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return False


def save_untrained_t5(folder: Path, seed: int = 0) -> None:
    """Save a T5 with random weights, so large that each seed and each input leads to another output."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer), d_model=48, d_kv=8, d_ff=64, num_layers=2, num_heads=6, initializer_factor=4.0,
            pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,  # type: ignore[call-arg]
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_untrained_bart(folder: Path) -> None:
    """Save a BART with random weights."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=6,
        decoder_attention_heads=6, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=1024, init_std=0.5,
        pad_token_id=0, eos_token_id=1, bos_token_id=3, decoder_start_token_id=1, forced_eos_token_id=None, **HUB_BART,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_causal(folder: Path, positions: int = 512) -> None:
    """Save an untrained Llama, its weights so large that each input leads to another output."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=positions, initializer_range=0.6, pad_token_id=0,
        eos_token_id=1, bos_token_id=3,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[: len(SPECIAL)] = 0  # it writes words alone
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _all_right(model: Any, batch: dict[str, torch.Tensor]) -> bool:
    """Return whether the right tokens are the likeliest by a logit, so that they are in bfloat16 as well."""
    with torch.no_grad():
        logits = model(**batch).logits
    right = logits.gather(-1, batch["labels"][..., None])
    others = logits.scatter(-1, batch["labels"][..., None], -torch.inf).amax(-1, keepdim=True)
    return bool((right > others + 1).all())


def tiny_tokenizer(
    *, frame: str = "</s>", chat: str | None = None, byte_level: bool = False
) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words, which puts the special token `frame` after a text.

    With a chat template, tokens of its own mark the turns. One on the level of bytes is as GPT-2's, and has all words
    as tokens, too.
    """
    turns = CHAT_TOKENS if chat else []
    if byte_level:
        tokenizer = Tokenizer(BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
        alphabet = ByteLevel.alphabet()
        trainer = BpeTrainer(
            vocab_size=10_000, special_tokens=[*SPECIAL, *turns], initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator([sentence(seed, 40) for seed in range(10)], trainer)
    else:
        vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS, "summarize:", *turns])}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = WhitespaceSplit()
    if frame:
        special_tokens = [(frame, tokenizer.token_to_id(frame))]
        tokenizer.post_processor = TemplateProcessing(single=f"$A {frame}", special_tokens=special_tokens)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
        extra_special_tokens=turns,
        chat_template=chat,
    )
