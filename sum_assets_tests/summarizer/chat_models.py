"""Chat models in a folder, whose outputs a test writes itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sum_assets.summarizer import (
    Abstract,
    GpuSettings,
    Phases,
    Rejection,
    SummarizerSettings,
    Summary,
    resolve_settings,
)
from sum_assets.summarizer.engines.token_engine import TokenEngine
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import EngineState, Output


def save_chat_model(folder: Path, tokenizer: Any, eos_token_id: int | None = 1) -> Path:
    """Save an untrained Llama with this tokenizer. Its generation settings name `eos_token_id`."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=2048, pad_token_id=0, eos_token_id=eos_token_id,
            bos_token_id=None,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def resolve(folder: Path, **settings: Any) -> ModelSettings:
    """Resolve a model's settings on the CPU."""
    options = {"model": str(folder), "prompt": "Summarize: ", "max_input_tokens": 400, **settings}
    resolved = resolve_settings(GpuSettings(device="cpu"), SummarizerSettings.model_validate(options))
    assert isinstance(resolved, ModelSettings)
    return resolved


class _Script:
    """Writes one text, whatever the prompt."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[list[tuple[int, Output]]]:
        yield [(index, self._ids) for index in range(len(prompts))]

    def state(self) -> EngineState:
        raise NotImplementedError


def written(resolved: ModelSettings, text: str) -> Summary | Rejection:
    """Return what becomes of a text that the model writes."""
    engine = TokenEngine(resolved, lambda tokenizer: _Script(tokenizer(text, add_special_tokens=False).input_ids))
    ((result,),) = engine.summarize([Abstract(1, "Cells divide.")], Phases())
    return result
