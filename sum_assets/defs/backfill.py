"""Launches a backfill on a running Dagster, over its GraphQL interface."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import dagster as dg

from sum_assets.defs.asset_names import CORPUS_ASSETS, SUMMARY_TABLE
from sum_assets.errors import UserError

_MUTATION = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PartitionKeysNotFoundError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""

_LIMIT = "query ($pool: String!) { instance { concurrencyLimit(concurrencyKey: $pool) { limit } } }"


#: Seconds that a webserver has to answer.
_ANSWERS = 60.0


def require_own_webserver(instance: dg.DagsterInstance, url: str, seconds: float = _ANSWERS) -> None:
    """Raise UserError unless the webserver at `url` answers in time, and from the storage of this instance.

    Another user's, or that of the demo, may listen there. It is asked for a pool that exists for this moment only.
    """
    pool = f"sum-assets-backfill-{uuid.uuid4().hex}"
    storage = instance.event_log_storage
    storage.set_concurrency_slots(pool, 1)
    try:
        answer = _ask(url, _LIMIT, {"pool": pool}, seconds)
    finally:
        storage.delete_concurrency_limit(pool)
    if answer.get("data") != {"instance": {"concurrencyLimit": {"limit": 1}}}:
        raise UserError(
            f"The webserver at {url} belongs to another database or another user: nothing was launched. Start one on "
            "this database, `sum-assets ui --port N`, and name it with --url."
        )


def launch_backfill(url: str, keys: Sequence[str], run_config: Mapping[str, Any], *, publish: bool = True) -> str:
    """Ask the webserver at `url` for runs of these ID ranges over all corpus assets; return the backfill's ID.

    Without `publish`, `summary_table` is left out.

    Raises UserError where no webserver answers, or it refuses.
    """
    params = {
        "assetSelection": [{"path": [asset]} for asset in CORPUS_ASSETS if publish or asset != SUMMARY_TABLE],
        "partitionNames": list(keys),
        "runConfigData": run_config,
        "title": f"{len(keys)} ID ranges",
    }
    answer = _ask(url, _MUTATION, {"params": params})
    result = (answer.get("data") or {}).get("launchPartitionBackfill") or {"message": str(answer.get("errors"))}
    if "backfillId" not in result:
        reasons = [e["message"] for e in result.get("errors", [])] or [result.get("message") or result["__typename"]]
        raise UserError(f"Dagster refused the backfill: {'; '.join(reasons)}")
    return str(result["backfillId"])


def _ask(url: str, query: str, variables: Mapping[str, Any], seconds: float = _ANSWERS) -> dict[str, Any]:
    """Return the answer of a webserver to a query. Raises UserError where none answers."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    try:
        request = Request(f"{url.rstrip('/')}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=seconds) as response:
            answer = json.load(response)
        if not isinstance(answer, dict):
            raise ValueError("its answer is not GraphQL")
    except HTTPError as error:
        if error.code < 500:
            raise _nobody(url, error) from error
        raise UserError(
            f"The webserver at {url} failed to answer ({error}). If it was just started, it may not have loaded "
            "the assets yet: try again in a moment. Otherwise look into its log."
        ) from error
    except (URLError, OSError, ValueError) as error:
        raise _nobody(url, error) from error
    return answer


def _nobody(url: str, error: Exception) -> UserError:
    return UserError(
        f"No Dagster webserver answers at {url} ({error}). Start one, `sum-assets ui`, or name another with --url."
    )
