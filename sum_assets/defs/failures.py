"""Checks a run's configuration, and turns errors into failures that a person can read."""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
import psycopg
from dagster._core.errors import DagsterExecutionInterruptedError

from sum_assets.database.server_errors import explained
from sum_assets.defs.asset_names import BENCHMARK_ASSETS, COMPARISON, CORPUS_OP
from sum_assets.defs.run_failures import STOPPED
from sum_assets.errors import EngineFaultError, UserError

_KNOWN = {
    "resources": {"gpu", "summarizer", "postgres", "io_manager"},
    "ops": {CORPUS_OP, *BENCHMARK_ASSETS, COMPARISON},
}


@contextmanager
def failing_clearly(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Check the configuration's keys, and fail with a UserError's own words inside.

    An engine's fault may pass in a fresh process: the asset's retry policy decides. A signal is none of its business:
    Dagster would repeat a step that somebody stops.
    """
    try:
        check_keys(context.run.run_config)
        yield
    except UserError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except (DagsterExecutionInterruptedError, KeyboardInterrupt) as error:
        raise dg.Failure(description=STOPPED, allow_retries=False) from error
    except EngineFaultError as error:
        raise dg.Failure(description=str(error)) from error
    except psycopg.Error as error:
        raise dg.Failure(description=str(explained(error) or error)) from error


def check_keys(run_config: Mapping[str, object]) -> None:
    """Raise UserError for a resource or op that does not exist: Dagster's own asset job ignores it."""
    for section, known in _KNOWN.items():
        content = run_config.get(section)
        for key in content if isinstance(content, Mapping) else ():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(known))}."
                raise UserError(f"The run configuration has an unknown key {key!r} under {section!r}.{hint}")
