"""The abstracts and models that all contestants share, and how many operations a pass takes."""

from pathlib import Path
from typing import Any

import torch
from psycopg import Connection
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from sum_assets.benchmark.sweep import Preset
from sum_assets.database.benchmark_results import draw_sample
from sum_assets.database.source import read_abstracts
from sum_assets.defs.resources import demo_summarizer
from sum_assets.summarizer import resolve_settings
from sum_assets.summarizer.conversions import build_once
from sum_assets.summarizer.generation_rules import stop_tokens
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.prompts import Encoded, PromptEncoder
from sum_assets_tests.evidence.bench_engines.contestants import MORE_ROWS, OUTPUT_TOKENS, SMOL, T5, WARM_UP


class Corpus:
    """The abstracts, the models, and the prompts of each model."""

    def __init__(self, connection: Connection) -> None:
        self.ids = draw_sample(connection, MORE_ROWS + WARM_UP)
        self._texts = {row.abstract_id: row.text for row in read_abstracts(connection, self.ids)}
        demo = demo_summarizer()
        t5 = {"model": str(_t5(connection)), "prompt": "summarize: "}
        self.settings = {
            SMOL: demo.model_copy(update={"max_output_tokens": OUTPUT_TOKENS}),
            T5: demo.model_copy(update=t5 | {"max_output_tokens": OUTPUT_TOKENS}),
        }
        self.resolved: dict[str, ModelSettings] = {}
        self._prompts: dict[str, list[list[int]]] = {}
        self.stops: dict[str, list[int]] = {}
        for model, settings in self.settings.items():
            resolved = resolve_settings(Preset(), settings)
            assert isinstance(resolved, ModelSettings)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(resolved.files.folder))
            encoder = PromptEncoder(tokenizer, settings.prompt, settings.max_input_tokens, chat=model == SMOL)
            encoded = encoder.encode([(i, self._texts[i]) for i in self.ids])
            self._prompts[model] = [e.ids for e in encoded if isinstance(e, Encoded)]
            self.resolved[model] = resolved
            self.stops[model] = stop_tokens(resolved.files, tokenizer)

    def warm_up(self, rows: int) -> slice:
        """Return the slice of the abstracts to warm up on: those after the first `rows`."""
        return slice(rows, rows + WARM_UP)

    def prompts(self, model: str, where: slice) -> list[list[int]]:
        """Return prompts as token ids."""
        return self._prompts[model][where]

    def operations(self, model: str, rows: int, output_tokens: int) -> float:
        """Return the multiplications and additions of matrix products and attention for the first `rows` abstracts.

        After Kaplan et al. (Scaling Laws for Neural Language Models, 2020, table 1): two for each weight and token,
        and four for each layer, width and pair of tokens that attend to each other.
        """
        config: Any = self.resolved[model].files.config
        inputs = [len(ids) for ids in self._prompts[model][:rows]]
        each = output_tokens / rows
        total = 0.0
        if model == SMOL:
            size, heads = config.hidden_size, config.num_attention_heads
            keys = size * config.num_key_value_heads // heads
            weights = config.num_hidden_layers * (2 * size * (size + keys) + 3 * size * config.intermediate_size)
            for n in inputs:
                pairs = n * n / 2 + each * (n + each / 2)
                total += 2 * weights * (n + each) + 4 * config.num_hidden_layers * size * pairs
        else:
            size, inner = config.d_model, config.num_heads * config.d_kv
            attention, layers = 4 * size * inner, config.num_layers
            for n in inputs:
                encoder = 2 * (attention + 2 * size * config.d_ff) * n + 4 * inner * n * n
                keys = 2 * 2 * size * inner * n
                decoder = 2 * (1.5 * attention + 2 * size * config.d_ff) * each + 4 * inner * each * (n + each / 2)
                total += layers * (encoder + keys + decoder)
        return float(total + 2 * size * config.vocab_size * output_tokens)


def _t5(connection: Connection) -> Path:
    """Return the folder of a random T5-base that never ends a text, with a tokenizer trained on these abstracts."""

    def build(folder: Path) -> None:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        special = ["<pad>", "</s>", "<unk>"]
        trainer = trainers.BpeTrainer(vocab_size=32_000, special_tokens=special, show_progress=False)
        query = "SELECT abstract FROM sum_assets.source_abstract ORDER BY abstract_id LIMIT 5000"
        tokenizer.train_from_iterator((row[0] for row in connection.execute(query)), trainer)
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=tokenizer.get_vocab_size(), d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12,
            decoder_start_token_id=0,  # type: ignore[call-arg]
            pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
        model = T5ForConditionalGeneration(config)
        with torch.no_grad():
            model.shared.weight[1] = 0  # the end token's score is 0, which never is the highest
        model.save_pretrained(folder)

    return build_once("bench-t5-base-shape", build)
