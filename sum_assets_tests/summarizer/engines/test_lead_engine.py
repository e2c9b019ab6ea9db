"""The engine without a model."""

import subprocess
import sys

import pytest

from sum_assets.summarizer import Abstract, GpuSettings, Phases, SummarizerSettings, open_summarizer, resolve_settings
from sum_assets.summarizer.engines.lead_engine import lead


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two! Three? Four.", ["One.", "One. Two!", "One. Two! Three?"]),
        ("E. coli grew (see Smith et al. 2004). It died.", ["E. coli grew (see Smith et al. 2004).", None]),
        ("2.5 mg vs. Placebo, i.e. none. 12 patients left.", ["2.5 mg vs. Placebo, i.e. none.", None]),
        ("no end", ["no end"]),
    ],
)
def test_the_lead_is_whole_sentences(text: str, first: list[str | None]) -> None:
    for sentences, expected in enumerate(first, 1):
        assert lead(text, sentences) == (text if expected is None else expected)


def test_it_needs_no_model_and_returns_every_abstract() -> None:
    resolved = resolve_settings(GpuSettings(engine="lead", batch_size=3), SummarizerSettings(model="/nowhere"))
    assert resolved.text_settings() == {"engine": "lead", "sentences": 3}
    lists = list(open_summarizer(resolved).summarize([Abstract(i, f"A{i}. Be. Ce. De.") for i in range(7)], Phases()))
    assert [len(one) for one in lists] == [3, 3, 1]
    assert [(r.abstract_id, getattr(r, "text", None)) for one in lists for r in one] == [
        (i, f"A{i}. Be. Ce.") for i in range(7)
    ]


def test_a_run_does_not_wait_for_torch() -> None:
    code = """
import sys
import sum_assets.defs.definitions, sum_assets.pipeline
from sum_assets.summarizer import GpuSettings, SummarizerSettings, open_summarizer, resolve_settings
from sum_assets.summarizer.device_lease import device_lease
with device_lease(GpuSettings(engine="lead"), print) as gpu:
    open_summarizer(resolve_settings(gpu, SummarizerSettings()))
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]", "each takes seconds to import"
