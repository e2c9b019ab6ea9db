"""Looks at the files of the model: whether they are here, whole, and can be loaded."""

import shutil
from collections.abc import Iterator

from huggingface_hub import constants

from sum_assets.doctor.engines import Find
from sum_assets.doctor.finding import Finding
from sum_assets.summarizer import SummarizerSettings, hub_files
from sum_assets.summarizer.engines.load_model import check_shapes
from sum_assets.summarizer.folder_files import weight_names
from sum_assets.summarizer.model_files import ModelFiles, load_tokenizer, present_weights
from sum_assets.units import size


def look_at_model(settings: SummarizerSettings, find: Find) -> Iterator[Finding]:
    """Report configuration, tokenizer and weights. Of a hub model all is fetched but the weights, as before a run.

    Raises UserError where something is missing or damaged.
    """
    files = find(settings.model, settings.revision)
    kind = "sequence-to-sequence" if files.config.is_encoder_decoder else "causal"
    yield Finding("model", "ok", "config.json", f"{files.config.model_type}, {kind}, revision {files.revision}")
    tokenizer = load_tokenizer(files)
    yield Finding("model", "ok", "tokenizer", f"{type(tokenizer).__name__} of {len(tokenizer):,} tokens")
    weights = present_weights(files)
    if not weights:
        yield _to_fetch(files)
        return
    check_shapes(settings.model, files)
    bytes_ = sum((files.folder / name).stat().st_size for name in weights)
    yield Finding("model", "ok", "weights", f"{size(bytes_)} in {weights[0]}{_more(weights)}: whole, and of this model")


def _to_fetch(files: ModelFiles) -> Finding:
    assert files.hub_id  # of other models, missing weights are an error
    assert files.commit
    sizes = hub_files.file_sizes(files.hub_id, files.commit) or {}
    names = weight_names(files.folder, files.config, sizes)
    bytes_ = sum(sizes[name] for name in names)
    says = f"{size(bytes_)} are not here yet. The first run downloads them to {constants.HF_HUB_CACHE}"
    free = shutil.disk_usage(files.folder).free
    if free < bytes_:
        return Finding(
            "model",
            "failure",
            "weights",
            f"{says}, where {size(free)} are free. Make room, or set HF_HOME to a folder on a larger disk.",
        )
    command = f"hf download {files.hub_id} --revision {files.commit} --include '{_pattern(names)}'"
    return Finding("model", "warning", "weights", f"{says}. To do so now: `{command}`.")


def _pattern(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0].partition('-')[0]}-*"


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more files" if len(names) > 1 else ""
