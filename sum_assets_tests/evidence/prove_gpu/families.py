"""Families of tiny models in float32: a device against the CPU, and against `generate` row by row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from sum_assets.summarizer import SummarizerSettings
from sum_assets.summarizer.engines.batching import is_decoded_here
from sum_assets.summarizer.engines.decoding import can_capture
from sum_assets.summarizer.model_files import load_tokenizer
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.plain_generate import PlainSummary, plain_generate
from sum_assets.summarizer.prompts import Encoded, open_encoder
from sum_assets_tests.evidence.prove_gpu.case import Machine, Result, check
from sum_assets_tests.evidence.prove_gpu.writing import resolved, try_variants
from sum_assets_tests.evidence.prove_models.families import MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS, TEXTS, save_family

_BATCH_SIZES = (5, 12)
#: Two logits are equally good if they differ by less than this share of their spread: then devices may round either
#: way. In float32, rounding is a thousand times finer. Convolutions of a GPU compute in TF32 by default, which is not.
_TIE = 1e-3


def family(machine: Machine, name: str) -> Result:
    """Hold a family's texts against those of `generate` on the CPU, and those of `generate` on the device, too.

    A text may differ where two tokens are equally likely, up to rounding. It is counted.
    """
    folder = machine.models / f"family {name}"
    if not folder.exists():
        save_family(name, folder)
    settings = SummarizerSettings(
        model=str(folder), prompt="", max_input_tokens=MAX_INPUT_TOKENS, max_output_tokens=MAX_OUTPUT_TOKENS
    )
    texts = list(TEXTS.values())
    expected = plain_generate(resolved(settings, device="cpu"), texts)
    here = resolved(settings, device=machine.device)
    variants: dict[str, dict[str, Any]] = {f"batches of {size}": {"batch_size": size} for size in _BATCH_SIZES}
    variants["eager attention"] = {"attention": "eager", "batch_size": 12}
    if not machine.rehearsal and is_decoded_here(here) and can_capture(here.files.config):
        variants |= {f"CUDA graphs, batches of {n}": {"cuda_graphs": True, "batch_size": n} for n in _BATCH_SIZES}
    written, errors, unsupported = try_variants(settings, texts, variants, device=machine.device)
    written["generate"] = [summary.text for summary in plain_generate(here, texts)]
    wrong = [f"{variant}: {error}" for variant, error in errors.items()]
    ties, judge = 0, _Judge(here, expected, texts)
    for variant, those in written.items():
        differences = [row for row, summary in enumerate(expected) if those[row] != summary.text]
        real = [row for row in differences if not judge.is_tie(row, those[row])]
        ties += len(differences) - len(real)
        if real:
            pair = f"{those[real[0]]!r}, not {expected[real[0]].text!r}"
            wrong.append(f"{variant}: {len(real)} of {len(texts)} texts differ, the first {pair}")
    notes = [f"{variant} cannot be had: {reason}" for variant, reason in unsupported.items()]
    notes += [f"{ties} texts differ where two tokens are equally likely"] if ties else []
    return check(wrong, "; ".join([f"{len(texts)} texts in {len(written)} ways", *notes]))


class _Judge:
    """Says whether two tokens are equally likely where two texts part, by the model on the CPU."""

    def __init__(self, here: ModelSettings, expected: Sequence[PlainSummary], texts: Sequence[str]) -> None:
        self._here, self._expected, self._texts = here, expected, texts
        self._model: Any = None

    def is_tie(self, row: int, text: str) -> bool:
        """Return whether a text parts from the expected one at a token as likely as the expected token."""
        folder = Path(self._here.settings.model)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        seq2seq = self._here.encoder_decoder
        if self._model is None:
            auto_class: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
            self._model = auto_class.from_pretrained(folder, dtype=torch.float32).eval()
        right = self._expected[row].ids
        ids = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        at = next((i for i, (a, b) in enumerate(zip(ids, right, strict=False)) if a != b), None)
        if at is None:
            return False
        read = _read(self._here, self._texts[row])
        before = torch.tensor([right[:at]], dtype=torch.long)
        with torch.inference_mode():
            if seq2seq:
                start = torch.tensor([[self._model.config.decoder_start_token_id]])
                out = self._model(input_ids=read, decoder_input_ids=torch.cat([start, before], dim=1))
            else:
                out = self._model(input_ids=torch.cat([read, before], dim=1))
        logits = out.logits[0, -1]
        return bool((logits[right[at]] - logits[ids[at]]).abs() < _TIE * (logits.max() - logits.min()))


def _read(here: ModelSettings, text: str) -> torch.Tensor:
    """Return the ids that the model reads of a text, 1 x tokens."""
    encoder = open_encoder(load_tokenizer(here.files), here.settings, encoder_decoder=here.encoder_decoder)
    (encoded,) = encoder.encode([(0, text)])
    assert isinstance(encoded, Encoded)
    return torch.tensor([encoded.ids])
