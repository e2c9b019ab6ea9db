"""Launches a backfill on a running Dagster, over its GraphQL interface."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from sum_assets.defs.asset_names import CORPUS_ASSETS
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


def launch_backfill(url: str, keys: Sequence[str], run_config: Mapping[str, Any]) -> str:
    """Ask the webserver at `url` for one run per ID range over all corpus assets; return the backfill's ID.

    Raises UserError where no webserver answers, or it refuses.
    """
    params = {
        "assetSelection": [{"path": [asset]} for asset in CORPUS_ASSETS],
        "partitionNames": list(keys),
        "runConfigData": run_config,
        "title": f"{len(keys)} ID ranges",
    }
    body = json.dumps({"query": _MUTATION, "variables": {"params": params}}).encode()
    request = Request(f"{url.rstrip('/')}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=60) as response:
            answer = json.load(response)
    except (URLError, OSError, ValueError) as error:
        raise UserError(
            f"No Dagster webserver answers at {url} ({error}). Start one, `make ui`, or name another with --url."
        ) from error
    result = (answer.get("data") or {}).get("launchPartitionBackfill") or {"message": str(answer.get("errors"))}
    if "backfillId" not in result:
        reasons = [e["message"] for e in result.get("errors", [])] or [result.get("message") or result["__typename"]]
        raise UserError(f"Dagster refused the backfill: {'; '.join(reasons)}")
    return str(result["backfillId"])
