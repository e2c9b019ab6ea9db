"""The product's `serve.py`, slowed: it logs each batch that it begins, and takes long enough to be killed in it."""

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from sum_assets.summarizer.engine_environments import program
from sum_assets.summarizer.engines.batching import BatchGenerator

#: The file to which each prompt is logged when its batch begins.
BEGUN = "SUM_ASSETS_TESTS_BEGUN"
_SECONDS = 0.3


def slow() -> None:
    """Log and slow each batch of this process."""
    real: Any = BatchGenerator._try

    def attempt(generator: BatchGenerator, batch: Sequence[list[int]]) -> list[list[int]] | None:
        with open(os.environ[BEGUN], "a") as log:
            log.write(
                "".join(f"{' '.join(map(str, ids))}\n" for ids in batch)
            )  # one write, since other workers write too
        time.sleep(_SECONDS)
        outputs: list[list[int]] | None = real(generator, batch)
        return outputs

    replaced: Any = BatchGenerator
    replaced._try = attempt


if __name__ == "__main__":
    slow()
    sys.path.insert(0, str(program("serve").parent))
    sys.exit(import_module("serve").serve(sys.argv[1]))
