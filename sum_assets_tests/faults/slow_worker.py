"""`serve.py` of the product, slowed: it notes each batch that it begins, and takes a moment for it, so as to be hit."""

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from sum_assets.summarizer.engines.batching import BatchGenerator
from sum_assets.summarizer.environments import program

#: The file in which each prompt is noted when its batch is begun.
BEGUN = "SUM_ASSETS_TESTS_BEGUN"
_SECONDS = 0.3


def slow() -> None:
    """Note and slow each batch of this process."""
    real: Any = BatchGenerator._try

    def attempt(generator: BatchGenerator, batch: Sequence[list[int]]) -> list[list[int]] | None:
        with open(os.environ[BEGUN], "a") as log:
            log.write("".join(f"{' '.join(map(str, ids))}\n" for ids in batch))  # at once, beside other workers
        time.sleep(_SECONDS)
        outputs: list[list[int]] | None = real(generator, batch)
        return outputs

    replaced: Any = BatchGenerator
    replaced._try = attempt


if __name__ == "__main__":
    slow()
    sys.path.insert(0, str(program("serve").parent))
    sys.exit(import_module("serve").serve(sys.argv[1]))
