"""Which prompt a model gets of which only the name is given."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from sum_assets.summarizer.prompts import usual_prompt
from sum_assets.summarizer.user_settings import CAUSAL_PROMPT, DEFAULT_MODEL, DEFAULT_PROMPT

WITHOUT = ("bart", "mbart", "pegasus", "led", "bigbird_pegasus", "prophetnet", "marian", "mt5", "umt5", "longt5")


def of_task(**own: object) -> dict[str, Any]:
    return {"task_specific_params": {"summarization": {"num_beams": 4, **own}}}


@pytest.mark.parametrize(
    ("model_type", "own", "prompt"),
    [
        ("t5", {}, "summarize: "),
        ("t5", of_task(prefix="tldr: "), "tldr: "),
        ("t5", of_task(), "summarize: "),
        ("t5", of_task(prefix=""), ""),
        ("bart", of_task() | {"prefix": " "}, " "),
        ("bart", of_task(prefix=3), ""),
        ("llama", of_task(prefix="tldr: "), CAUSAL_PROMPT),
        *((name, {}, "") for name in WITHOUT),
    ],
)
def test_it_is_the_checkpoints_own_or_that_of_its_family(
    tmp_path: Path, model_type: str, own: dict[str, Any], prompt: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, **own}))
    config = AutoConfig.from_pretrained(str(tmp_path))
    assert usual_prompt("a model", config) == prompt
    assert usual_prompt(DEFAULT_MODEL, config) == DEFAULT_PROMPT, "its card says so, whatever its configuration says"
