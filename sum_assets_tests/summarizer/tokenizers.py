"""Tokenizers of the kinds that chat models have, trained in a moment, and the chat templates of their families."""

import json
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram
from transformers import AutoTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "Cells divide, and tumour growth slows after 12 weeks of treatment in 240 patients.",
    "We measured the expression of genes in mice; naive cells were counted twice.",
    "Background: a summary of results. Methods: say it plainly. Conclusions: none.",
    "Text Summarize USER ASSISTANT Instruction Response user assistant model system Today Date",
] * 30
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "chatml with a system prompt": "{{'<|im_start|>system\nYou are helpful.<|im_end|>\n'}}" + CHATML,
    "llama 2": "{% for m in messages %}{% if m['role']=='user' %}{{ bos_token + '[INST] ' + m['content'].strip() + "
    "' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}",
    "mistral": "{{ bos_token }}{% for m in messages %}{% if m['role']=='user' %}{{ '[INST] ' + m['content'] + "
    "' [/INST]' }}{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
    "zephyr": "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token }}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "vicuna": "{% for m in messages %}{% if m['role']=='user' %}{{ 'USER: ' + m['content'] }}{% else %}"
    "{{ ' ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
    "alpaca": "{{ '### Instruction:\n' + messages[0]['content'] + '\n\n### Response:\n' }}",
    "gemma": "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + "
    "'<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "llama 3": "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_end|>\n\n' + m['content'] "
    "| trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_end|>\n\n' }}{% endif %}",
    "phi": "{% for m in messages %}{{'<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
}
#: Special tokens that some of the templates write. The others of them are plain text to a tokenizer.
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|end|>")


def byte_level(*tokens: str, **named: str | None) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer, as of Llama 3 and Qwen, with `tokens` beside its special ones."""
    special = ["<pad>", "</s>", "<s>", *tokens]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", **named}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def sentencepiece_bpe(folder: Path, *, legacy: bool, tokens: tuple[str, ...] = ()) -> Any:
    """Return a tokenizer as of Llama 2, with a blank before a text."""
    folder.mkdir()
    (folder / "corpus.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=420, model_type="bpe",
        byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    settings = {
        "tokenizer_class": "LlamaTokenizer", "legacy": legacy, "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False, "additional_special_tokens": list(tokens),
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return AutoTokenizer.from_pretrained(folder)


def unigram() -> PreTrainedTokenizerFast:
    """Return a tokenizer as of T5. Its model knows </s>, and finds it in texts, whatever is asked of it."""
    letters = sorted(set("".join(CORPUS)) - {" "} | set("</>"))
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens=["<extra_id_0>"],
    )  # fmt: skip
