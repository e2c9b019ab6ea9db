"""What all engines with a model share: texts to tokens, longest first, and tokens to texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from transformers import AutoTokenizer

from sum_assets.errors import UserError
from sum_assets.summarizer.engine_registry import import_attribute
from sum_assets.summarizer.generation_rules import stop_tokens
from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.prompts import Encoded, PromptEncoder
from sum_assets.summarizer.resolved_settings import ModelSettings
from sum_assets.summarizer.types import Abstract, EngineState, Generator, Output, Rejection, Summary


def load_tokenizer(resolved: ModelSettings) -> Any:
    """Return the model's tokenizer. Raises UserError where it cannot be loaded."""
    files = resolved.files
    try:
        return AutoTokenizer.from_pretrained(files.location, revision=files.commit or "main")
    except (OSError, ValueError) as error:
        raise UserError(f"model: {resolved.settings.model} cannot be loaded: {error}") from error


def load_generator(resolved: ModelSettings, tokenizer: Any, *, naive: bool = False) -> Generator:
    """Load the model, into a worker process where the engine has its own environment."""
    if resolved.threads_per_worker:
        torch.set_num_threads(resolved.threads_per_worker)
    options = {"naive": True} if naive and resolved.spec.naive else {}
    generator: Generator = import_attribute(resolved.spec.opens)(resolved, tokenizer, **options)
    return generator


class TokenEngine:
    """Serves one model on one device; see `sum_assets.summarizer.types.Summarizer`.

    Raises UserError where the model's tokenizer cannot be loaded.
    """

    def __init__(self, resolved: ModelSettings, load: Callable[[Any], Generator]) -> None:
        self._tokenizer = load_tokenizer(resolved)
        chat = not resolved.encoder_decoder and bool(self._tokenizer.chat_template)
        self._encoder = PromptEncoder(
            self._tokenizer, resolved.settings.prompt, resolved.settings.max_input_tokens, chat=chat
        )
        self._generator = load(self._tokenizer)
        self._stops = stop_tokens(resolved.files, self._tokenizer)

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        """Generate longest first, so that a lack of memory shows at once, not at the end."""
        with phases("tokenize"):
            inputs = self._encoder.encode([(a.abstract_id, a.text) for a in abstracts])
            inputs.sort(key=lambda e: (-len(e.ids), e.abstract_id))
        finished = self._generator.generate([e.ids for e in inputs])
        while True:
            with phases("generate"):
                outputs = next(finished, None)
            if outputs is None:
                return
            with phases("detokenize"):
                results = self._decode([(inputs[index], output) for index, output in outputs])
            yield results

    def _decode(self, finished: Sequence[tuple[Encoded, Output]]) -> list[Summary | Rejection]:
        written = [output for _, output in finished if isinstance(output, list)]
        texts = iter(self._tokenizer.batch_decode(written, skip_special_tokens=True))
        results: list[Summary | Rejection] = []
        for encoded, output in finished:
            if isinstance(output, tuple):
                results.append(Rejection(encoded.abstract_id, *output))
                continue
            # PostgreSQL's text holds no NUL.
            text = next(texts).replace("\x00", "").strip()
            if text:
                reason: Literal["stop", "length"] = "stop" if output[-1] in self._stops else "length"
                results.append(
                    Summary(encoded.abstract_id, text, len(encoded.ids), len(output), encoded.truncated, reason)
                )
            else:
                results.append(Rejection(encoded.abstract_id, "empty_summary", "the model wrote nothing"))
        return results

    def state(self) -> EngineState:
        """Return how the engine is doing."""
        return self._generator.state()
