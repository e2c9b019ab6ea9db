"""The partitions, and what every asset over them does first."""

import difflib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import dagster as dg

from sum_assets.errors import EngineFaultError, UserError
from sum_assets.id_range import IdRange

id_ranges = dg.DynamicPartitionsDefinition(name="id_range")

_KNOWN = {
    "resources": {"gpu", "summarizer", "postgres", "io_manager"},
    "ops": {"abstracts", "summaries", "summary_table", "benchmark", "benchmark_report"},
}


@contextmanager
def failing_clearly(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Check the run configuration's keys, and fail with a UserError's own words inside.

    An engine's fault may pass in a fresh process: the asset's retry policy decides.
    """
    try:
        _check_keys(context)
        yield
    except UserError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except EngineFaultError as error:
        raise dg.Failure(description=str(error)) from error


def tell(context: dg.AssetExecutionContext, text: str) -> None:
    """Log, or print where Dagster's own database is away: no news are worth a run."""
    try:
        context.log.info(text)
    except Exception as error:
        print(f"{text} (not logged: {type(error).__name__})", file=sys.stderr)


@contextmanager
def ranges_of(context: dg.AssetExecutionContext) -> Iterator[list[IdRange]]:
    """Give the ID ranges of a run of one partition or many; fail with a UserError's own words inside."""
    with failing_clearly(context):
        yield [IdRange.from_key(key) for key in context.partition_keys]


def _check_keys(context: dg.AssetExecutionContext) -> None:
    """Raise UserError for a resource or op that does not exist: Dagster's own asset job ignores it."""
    for section, known in _KNOWN.items():
        for key in cast(dict[str, object], context.run.run_config.get(section) or {}):
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(known))}."
                raise UserError(f"The run configuration has an unknown key {key!r} under {section!r}.{hint}")


def joint_data_version(parts: Sequence[str]) -> dg.DataVersion:
    """Return one data version for all partitions of a run: Dagster takes no other."""
    version = parts[0] if len(parts) == 1 else hashlib.sha256("-".join(parts).encode()).hexdigest()
    return dg.DataVersion(version)
