"""What the UI shows of the assets of the corpus, each made of the one before."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from sum_assets.defs.asset_names import ABSTRACTS, SOURCE, SUMMARIES, SUMMARY_TABLE
from sum_assets.defs.table_schemas import ABSTRACT_SUMMARY


def _spec(
    name: str, dep: str, kinds: set[str], description: str, metadata: Mapping[str, Any] | None = None
) -> dg.AssetSpec:
    # Skippable, since each range is logged by itself, and nothing for all of a run.
    common: dict[str, Any] = {"group_name": "corpus", "code_version": "1", "skippable": True}
    return dg.AssetSpec(name, deps=[dep], kinds=kinds, description=description, metadata=metadata, **common)


CORPUS_SPECS = [
    _spec(
        ABSTRACTS,
        SOURCE,
        {"postgres"},
        "Rows, unusable rows and lengths of an ID range of `source_abstract`, as they are now. Materialize it again, "
        "and `summaries` shows as stale where an abstract was edited: its data version is a hash of them.",
    ),
    _spec(
        SUMMARIES,
        ABSTRACTS,
        {"huggingface", "pytorch"},
        "Summaries of an ID range, generated under one fingerprint, with the time they took. A repeated run generates "
        "only what is missing or stale.",
    ),
    _spec(
        SUMMARY_TABLE,
        SUMMARIES,
        {"postgres", "table"},
        "The published summaries of an ID range, replaced in one transaction, and verified in it.",
        ABSTRACT_SUMMARY,
    ),
]
