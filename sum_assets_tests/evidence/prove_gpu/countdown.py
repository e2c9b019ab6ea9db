"""Models of real shapes whose weights are random, but for what makes them write summaries of chosen lengths.

A text ends with a number, such as n12, and the model counts down from it: n11, n10, ..., n1, and stops. All matrices of
the real shape are multiplied, whatever the engine, and what must be written is known. In the embeddings of tokens all
else is noise. The rows of the output layer are the embeddings of the tokens that came before: n11 has that of n12.
A causal model so goes on from the last token that it read. The last layer of cross-attention of an encoder-decoder
looks for the number, and hands its embedding on.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS = 672, 256
#: The instruction: eight tokens that all prompts share.
PROMPT = "w0 w1 w2 w3 w4 w5 w6 w7 "
_SPECIAL = ["<pad>", "</s>", "<unk>", "<s>"]
_FIRST = len(_SPECIAL)  # the id of n1
#: Dimensions of the embedding with a meaning: what marks a number, and what all tokens have; and their size.
_NUMBER, _ALL, _LOUD = 0, 1, 4.0
#: How loud what is handed on from the encoder is, beside the embedding of the last token.
_HANDED_ON = 0.5

#: Shapes of models on the Hugging Face Hub, by their config.json, and tiny ones of the same kinds. T5-large is that of
#: google/flan-t5-large. Qwen2.5 is made as a Llama, which only lacks the biases of queries, keys and values:
#: transformers would read a Qwen2's tokenizer as one of bytes.
SHAPES: dict[str, dict[str, Any]] = {
    "T5-large": {
        "model_type": "t5", "vocab_size": 32128, "d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24,
        "num_heads": 16,
    },
    "SmolLM2-135M": {
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "rope_theta": 100_000.0,
        "max_position_embeddings": 8192,
    },
    "Qwen2.5-1.5B": {
        "model_type": "llama", "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960,
        "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "rope_theta": 1_000_000.0,
        "max_position_embeddings": 32768,
    },
    "tiny T5": {
        "model_type": "t5", "vocab_size": 500, "d_model": 128, "d_kv": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4,
    },
    "tiny Llama": {
        "model_type": "llama", "vocab_size": 500, "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 1024,
    },
}  # fmt: skip


def save_countdown(shape: str, folder: Path, device: str) -> None:
    """Make a model of a shape on a device, and save it with its tokenizer, in bfloat16."""
    sizes = dict(SHAPES[shape])
    kind = sizes.pop("model_type")
    seq2seq = kind == "t5"
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, "tie_word_embeddings": False}
    if seq2seq:
        ids |= {"decoder_start_token_id": 0}
        sizes |= {"feed_forward_proj": "gated-gelu"}
    config: Any = AutoConfig.for_model(kind, **sizes, **ids)
    auto_class: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    torch.manual_seed(0)
    with torch.device(device), torch.no_grad():
        model = auto_class.from_config(config, dtype=torch.float32)
        numbers = torch.arange(_FIRST, _FIRST + MAX_OUTPUT_TOKENS)
        embedded = model.get_input_embeddings().weight
        embedded.normal_()
        for name, weight in model.named_parameters():
            if name.endswith((".o.weight", ".wo.weight", ".o_proj.weight", ".down_proj.weight")):
                weight.mul_(0.1)  # so that layers add little to the embedding of the last token
        if seq2seq:
            _prepare_encoder_decoder(model, embedded, numbers)
        # T5's class ties it to the embeddings, until a checkpoint has one of its own.
        model.get_output_embeddings().weight = torch.nn.Parameter(torch.empty_like(embedded))
        out = model.get_output_embeddings().weight
        out.normal_(std=0.02)
        after = torch.cat([torch.tensor([config.eos_token_id]), numbers[:-1]])  # n1 ends it; n2 is followed by n1
        out[after] = embedded[numbers]
        if seq2seq:
            out[:, [_NUMBER, _ALL]] = 0
        model.to(torch.bfloat16).save_pretrained(folder)
    _tokenizer(config.vocab_size, ends=seq2seq).save_pretrained(folder)


def _prepare_encoder_decoder(model: Any, embedded: torch.Tensor, numbers: torch.Tensor) -> None:
    """Have the last cross-attention look for the number, and hand on its embedding."""
    embedded[0] = 0  # the decoder's start, beside which nothing else may be heard
    embedded[:, _NUMBER], embedded[:, _ALL] = 0, _LOUD
    embedded[numbers, _NUMBER] = _LOUD
    attention = model.decoder.block[-1].layer[1].EncDecAttention
    width = attention.key_value_proj_dim
    attention.q.weight.zero_()
    attention.k.weight.zero_()
    attention.q.weight[::width, _ALL] = 1  # the first dimension of each head
    attention.k.weight[::width, _NUMBER] = 2
    identity = torch.eye(attention.v.weight.shape[0])
    attention.v.weight.copy_(identity)
    attention.o.weight.copy_(_HANDED_ON * identity)


def _tokenizer(size: int, *, ends: bool) -> PreTrainedTokenizerFast:
    """Return a tokenizer of so many words; `ends` puts the end of a text after it."""
    numbers = [f"n{i}" for i in range(1, MAX_OUTPUT_TOKENS + 1)]
    words = [f"w{i}" for i in range(size - len(_SPECIAL) - len(numbers))]
    vocabulary = {word: i for i, word in enumerate([*_SPECIAL, *numbers, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    if ends:
        tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>"
    )


def draw_lengths(rows: int, seed: int, median: int, most: int) -> list[int]:
    """Return lengths whose 95th percentile is 1.67 times their median, at least 2 and at most `most`.

    That is the spread of 18,445 abstracts of PubMed: 330 tokens at the median, 551 at the 95th percentile.
    """
    drawn = random.Random(seed)
    return [max(2, min(most, round(drawn.lognormvariate(0, 0.3117) * median))) for _ in range(rows)]


def texts(shape: str, inputs: Sequence[int], outputs: Sequence[int]) -> list[str]:
    """Return texts of so many tokens, prompt included, on which so many are written, stop token included."""
    words = SHAPES[shape]["vocab_size"] - _FIRST - MAX_OUTPUT_TOKENS
    drawn = random.Random(0)
    beside = len(PROMPT.split()) + 1 + (SHAPES[shape]["model_type"] == "t5")  # the number, and the end of the text
    return [
        " ".join([*(f"w{drawn.randrange(words)}" for _ in range(max(0, length - beside))), f"n{written}"])
        for length, written in zip(inputs, outputs, strict=True)
    ]


def countdown(written: int) -> str:
    """Return what must be written where `written` tokens are, stop token included."""
    return " ".join(f"n{i}" for i in range(written - 1, 0, -1))
