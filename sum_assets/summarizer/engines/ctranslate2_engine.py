"""CTranslate2: sequence-to-sequence models in C++, in 8 bits where asked, on CPU and CUDA."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import torch
from ctranslate2.converters import TransformersConverter

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer.conversions import build_once
from sum_assets.summarizer.engines.batching import BatchGenerator
from sum_assets.summarizer.engines.load_model import check_weights
from sum_assets.summarizer.generation_rules import stop_tokens
from sum_assets.summarizer.model_files import weights_folder
from sum_assets.summarizer.model_settings import ModelSettings
from sum_assets.summarizer.types import Device, Precision, Quantization

#: Rows of a batch that a replica gets at least, on a CPU. Replicas run in parallel with threads of their own, since
#: threads that share an operation wait for each other.
_REPLICA_ROWS = 8


class CTranslate2Generator(BatchGenerator):
    """Generates batch by batch; see `sum_assets.summarizer.types.Generator`.

    The model is converted once, in its own precision. The precision to compute in is chosen as it is loaded. Raises
    UserError where it cannot be converted.
    """

    def __init__(self, resolved: ModelSettings, tokenizer: Any) -> None:
        super().__init__(resolved)
        self._tokenizer = tokenizer
        self._rules = _rules(resolved, tokenizer)
        end = resolved.rules.get("forced_eos_token_id")
        self._forced_end = min(end) if isinstance(end, list) else end  # of several, transformers takes the lowest
        folder = converted(resolved)
        device = resolved.device
        threads = torch.get_num_threads() if device.kind == "cpu" else 1
        self._replicas = max(1, min(threads, self._rows(resolved.settings.max_input_tokens) // _REPLICA_ROWS))
        self._translator = ctranslate2.Translator(
            str(folder),
            device.kind,
            device_index=device.index or 0,
            compute_type=compute_type(resolved.precision, resolved.quantization),
            inter_threads=self._replicas,  # they share the weights
            intra_threads=threads // self._replicas,
        )
        self._stops = stop_tokens(resolved.files, tokenizer)

    def _generate(self, batch: Sequence[list[int]]) -> list[list[int]]:
        settings = self._resolved.settings
        rules = dict(self._rules)
        start = rules.pop("start", None)
        inputs = [self._tokenizer.convert_ids_to_tokens(ids) for ids in batch]
        parts = [inputs[part :: self._replicas] for part in range(min(self._replicas, len(inputs)))]
        pending = [
            self._translator.translate_batch(
                part,
                target_prefix=[[start]] * len(part) if start else None,
                beam_size=1,
                max_decoding_length=settings.max_output_tokens,
                max_input_length=0,
                end_token=self._stops,
                return_end_token=True,
                asynchronous=True,
                **rules,
            )
            for part in parts
        ]
        outputs: list[list[int]] = [[] for _ in batch]
        for part, results in enumerate(pending):
            tokens = [result.result().hypotheses[0] for result in results]
            outputs[part :: self._replicas] = [self._tokenizer.convert_tokens_to_ids(row) for row in tokens]
        if self._forced_end is not None:
            for output in outputs:
                if len(output) == settings.max_output_tokens:
                    output[-1] = self._forced_end
        return outputs


def compute_type(precision: str, quantization: str) -> str:
    """Return CTranslate2's name for what to compute in (its documentation, Quantization)."""
    return f"int8_{precision}" if quantization == "int8" else precision


def choose_computed_precision(
    precision: Precision, device: Device, quantization: Quantization, *, may_fall_back: bool
) -> Precision:
    """Return the precision to compute in: float32 where CTranslate2 lacks what torch has, if it `may_fall_back`.

    Raises UnsupportedError where it has neither.
    """
    # Where its CUDA needs a newer driver than torch's, it would fail, or answer for another device.
    if device.kind == "cuda" and ctranslate2.get_cuda_device_count() <= (device.index or 0):
        raise UnsupportedError(
            f"engine ctranslate2 cannot use {device.name}: ctranslate2 {ctranslate2.__version__} sees "
            f"{ctranslate2.get_cuda_device_count()} CUDA devices. Update the driver, or set engine: transformers."
        )
    types = ctranslate2.get_supported_compute_types(device.kind, device.index or 0)
    if compute_type(precision, quantization) in types:
        return precision
    if may_fall_back and compute_type("float32", quantization) in types:
        return "float32"
    raise UnsupportedError(
        f"precision {precision}, quantization {quantization}: ctranslate2 on {device.name} has "
        f"{', '.join(sorted(types))}. Set precision: float32."
    )


def _rules(resolved: ModelSettings, tokenizer: Any) -> dict[str, Any]:
    """Return the model's own generation rules under CTranslate2's names.

    Raises UnsupportedError for a rule that also looks at the decoder's start token, which CTranslate2 leaves out.
    """
    asked = resolved.rules
    if asked.get("no_repeat_ngram_size") == 1:
        raise UnsupportedError(
            "engine ctranslate2 does not apply no_repeat_ngram_size 1, which the model's generation settings ask for. "
            "Set engine: transformers."
        )
    # CTranslate2's own default is one token. transformers counts the start token in min_length.
    rules: dict[str, Any] = {"min_decoding_length": asked.get("min_new_tokens", max(asked.get("min_length", 0) - 1, 0))}
    if "no_repeat_ngram_size" in asked:
        rules["no_repeat_ngram_size"] = asked["no_repeat_ngram_size"]
    if "forced_bos_token_id" in asked:
        rules["start"] = tokenizer.convert_ids_to_tokens(asked["forced_bos_token_id"])
    return rules


def converted(resolved: ModelSettings) -> Path:
    """Return the folder of the converted model, made on first use."""

    def build(folder: Path) -> None:
        check_weights(resolved)
        try:
            TransformersConverter(str(weights_folder(resolved.files))).convert(str(folder), force=True)
        except (ValueError, AttributeError, KeyError, NotImplementedError) as error:
            raise UserError(
                f"model: {resolved.settings.model} cannot be converted for engine ctranslate2: {error} "
                "Set engine: transformers."
            ) from error

    digest = resolved.files.revision.removeprefix("sha256:")[:12]
    return build_once(f"{Path(resolved.settings.model).stem}-{digest}-ctranslate2-{ctranslate2.__version__}", build)
