"""What all engines with a model share: texts to tokens, longest first, and tokens to texts."""

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import torch

from sum_assets.summarizer.device_rates import open_roofline
from sum_assets.summarizer.engine_registry import import_attribute
from sum_assets.summarizer.engines.look_ahead import look_ahead
from sum_assets.summarizer.generation_rules import stop_tokens
from sum_assets.summarizer.model_files import load_tokenizer
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.phases import Phases
from sum_assets.summarizer.prompts import Encoded, open_encoder
from sum_assets.summarizer.thoughts import ThoughtFilter
from sum_assets.summarizer.types import EMPTY, Abstract, EngineState, Generator, Output, Rejection, Summary


def load_generator(resolved: ModelSettings, tokenizer: Any, *, naive: bool = False) -> Generator:
    """Load the model, into a worker process where the engine has its own environment."""
    if resolved.threads_per_worker:
        torch.set_num_threads(resolved.threads_per_worker)
    options = {"naive": True} if naive and resolved.spec.naive else {}
    generator: Generator = import_attribute(resolved.spec.opens)(resolved, tokenizer, **options)
    return generator


class TokenEngine:
    """Serves one model on one device; see `sum_assets.summarizer.types.Summarizer`.

    With `ahead`, the next batch is generated in a thread while the last one is turned into text and handed on. That
    pays where this process waits for a device. Raises UserError where the model's tokenizer cannot be loaded.
    """

    def __init__(self, resolved: ModelSettings, load: Callable[[Any], Generator], *, ahead: bool = False) -> None:
        settings = resolved.settings
        self._tokenizer = load_tokenizer(resolved.files)
        # A tokenizer of its own: fast ones refuse to be used while another thread changes their truncation.
        own = copy.deepcopy(self._tokenizer)
        self._encoder = open_encoder(own, settings, encoder_decoder=resolved.encoder_decoder)
        self._encoding = threading.Lock()
        self._prepared: dict[Abstract, Encoded | Rejection] = {}
        self._without_thoughts = ThoughtFilter(
            self._tokenizer, self._encoder.template, self._encoder.closing, settings.thoughts
        )
        self._roofline = open_roofline(resolved)  # before anything else is on the device
        self._generator = load(self._tokenizer)
        self._thread = ThreadPoolExecutor(1, "generate") if ahead else None
        self._stops = stop_tokens(resolved.files, self._tokenizer)
        self._limit = resolved.settings.max_output_tokens
        self._end_is_forced = "forced_eos_token_id" in resolved.rules

    def prepare(self, abstracts: Sequence[Abstract]) -> None:
        """Tokenize, once."""
        new = [a for a in abstracts if a not in self._prepared]
        if not new:  # whoever generates is not to wait for the tokenizing of what comes next
            return
        with self._encoding:
            encoded = self._encoder.encode([(a.abstract_id, a.text) for a in new])
        self._prepared.update(zip(new, encoded, strict=True))

    def summarize(self, abstracts: Iterable[Abstract], phases: Phases) -> Iterator[list[Summary | Rejection]]:
        """Generate longest first, so that a lack of memory shows at once, not at the end."""
        with phases("tokenize"):
            abstracts = list(abstracts)
            self.prepare(abstracts)
            encoded = [self._prepared[a] for a in abstracts]
            for a in abstracts:
                self._prepared.pop(a, None)
            inputs = [e for e in encoded if isinstance(e, Encoded)]
            inputs.sort(key=lambda e: (-len(e.ids), e.abstract_id))
            rejected: list[Summary | Rejection] = [e for e in encoded if isinstance(e, Rejection)]
        if rejected:
            yield rejected
        if not inputs:
            return
        finished = self._generator.generate([e.ids for e in inputs])
        if self._thread:
            finished = look_ahead(finished, self._thread)
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
            text = self._without_thoughts(output, next(texts))
            if isinstance(text, tuple):
                results.append(Rejection(encoded.abstract_id, *text))
                continue
            text = text.replace("\x00", "").strip()  # PostgreSQL's text holds no NUL
            if text:
                reason = self._finish_reason(output)
                results.append(
                    Summary(encoded.abstract_id, text, len(encoded.ids), len(output), encoded.truncated, reason)
                )
            else:
                results.append(Rejection(encoded.abstract_id, EMPTY, "the model wrote nothing"))
        return results

    def _finish_reason(self, output: list[int]) -> Literal["stop", "length"]:
        """Return what ended an output. A token that is forced at the limit says nothing."""
        if len(output) < self._limit:
            return "stop"
        return "length" if self._end_is_forced or output[-1] not in self._stops else "stop"

    def state(self) -> EngineState:
        """Return how the engine is doing."""
        return replace(self._generator.state(), roofline=self._roofline)
