"""Engines that generate batch by batch, and halve a batch that does not fit into memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from sum_assets.summarizer.device_errors import is_out_of_memory
from sum_assets.summarizer.devices import free_memory
from sum_assets.summarizer.engines.decoding import families
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import Batches, EngineState, Output


def is_decoded_here(resolved: ModelSettings) -> bool:
    """Return whether our own loop decodes, rather than transformers' `generate`."""
    return resolved.attention == "sdpa" and families.can_decode(
        resolved.files.config, resolved.rules, resolved.most_tokens
    )


def choose_batches(resolved: ModelSettings) -> Batches:
    """Return which inputs may share a batch and still get the texts that `generate` writes for each alone."""
    takes_turns = resolved.continuous and not resolved.encoder_decoder  # then nothing is padded
    if takes_turns or is_decoded_here(resolved):
        return "any lengths"
    return families.choose_batches(resolved.files.config, resolved.rules, resolved.most_tokens)


class BatchGenerator(ABC):
    """Generates batch by batch; see `sum_assets.summarizer.types.Generator`."""

    def __init__(self, resolved: ModelSettings) -> None:
        self._resolved = resolved
        self._batch_size = resolved.batch_size
        self._batch_tokens = resolved.batch_tokens
        self._batches = resolved.batches
        self._out_of_memory = 0

    @abstractmethod
    def _generate(self, batch: Sequence[list[int]]) -> Sequence[Output]:
        """Return the generated ids of every row, stop token included, or (reason, detail)."""

    def _peak_bytes(self) -> int | None:
        """Return the device's peak memory in bytes, or None where it is unknown."""
        return None

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        """Yield each batch; where memory runs out, halve it."""
        first = 0
        while first < len(prompts):
            batch = self._together(prompts[first : first + self._rows(len(prompts[first]))])
            outputs = self._try(batch)
            if outputs is None:
                self._out_of_memory += 1
                if len(batch) > 1:
                    self._batch_size = len(batch) // 2
                    if self._batch_tokens is not None:
                        self._batch_tokens //= 2
                    continue
                need = f"{len(batch[0])} input tokens do not fit on {self._resolved.device.name}"
                yield [(first, ("out_of_memory", need))]
            else:
                yield list(enumerate(outputs, first))
            first += len(batch)

    def _rows(self, longest: int) -> int:
        """Return how many inputs go together, of which the first is the longest."""
        if self._batch_tokens is None:
            return self._batch_size
        cost = longest + self._resolved.settings.max_output_tokens
        return max(1, min(self._batch_size, self._batch_tokens // cost))

    def _together(self, prompts: Sequence[list[int]]) -> Sequence[list[int]]:
        """Return the first of the prompts, with those after it that may share its batch."""
        if self._batches == "any lengths":
            return prompts
        length = len(prompts[0])
        alone = self._batches == "single"
        return prompts[: next((i for i in range(1, len(prompts)) if alone or len(prompts[i]) != length), None)]

    def _try(self, batch: Sequence[list[int]]) -> Sequence[Output] | None:
        """Return what was generated; None when memory ran out."""
        try:
            return self._generate(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Out here the exception, and with it every tensor of the failed attempt, is gone.
        free_memory(self._resolved.device)
        return None

    def state(self) -> EngineState:
        """Return the batch size in use and the device's peak memory."""
        return EngineState(self._resolved.device.name, self._batch_size, self._out_of_memory, self._peak_bytes())
