"""Says of each asset who answers for it, and where its code is. What holds for an asset holds for its checks."""

import inspect
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import dagster as dg

import sum_assets
from sum_assets.errors import UserError

#: The environment variables of the owners, and of the address of the code in a browser.
OWNERS, CODE_URL = "SUM_ASSETS_OWNERS", "SUM_ASSETS_CODE_URL"
_ROOT = Path(sum_assets.__file__).parents[1]


def owners() -> list[str]:
    """Return the owners of all assets: `SUM_ASSETS_OWNERS`, or a team. Raises UserError for one that is not valid."""
    names = [name.strip() for name in (os.environ.get(OWNERS) or "team:sum_assets").split(",")]
    for name in names:
        try:
            dg.AssetSpec("any", owners=[name])
        except dg.DagsterInvalidDefinitionError as error:
            raise UserError(f"{OWNERS} names {name!r}. Set it to addresses and teams: me@lab.org,team:text.") from error
    return names


def code_url() -> str | None:
    """Return `SUM_ASSETS_CODE_URL`, None where it is not set. Raises UserError where a browser could not open it."""
    url = os.environ.get(CODE_URL)
    if url and not url.startswith(("http://", "https://")):
        raise UserError(f"{CODE_URL} is {url!r}. Set it to the address of the folder in which sum_assets lies.")
    return url.rstrip("/") if url else None


def with_owners(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Return an asset with its owners, and with the function that makes it as its code."""
    function = cast(Any, asset.op.compute_fn).decorated_fn
    return asset.map_asset_specs(partial(spec_with_owners, code=function))


def spec_with_owners(spec: dg.AssetSpec, code: Callable[..., Any] | ModuleType) -> dg.AssetSpec:
    """Return the same of a spec. Its code is a function, or a module where nothing makes the asset."""
    return spec.merge_attributes(owners=owners(), metadata={"dagster/code_references": _reference(code)})


def _reference(code: Callable[..., Any] | ModuleType) -> dg.CodeReferencesMetadataValue:
    """Return the file and line of the code: their address where it is known, else those of this machine."""
    path = Path(inspect.getfile(code))
    line = None if isinstance(code, ModuleType) else inspect.getsourcelines(code)[1]
    url = code_url()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # references are new in Dagster
        if url is None:
            return dg.CodeReferencesMetadataValue(
                code_references=[dg.LocalFileCodeReference(file_path=str(path), line_number=line)]
            )
        address = f"{url}/{path.relative_to(_ROOT).as_posix()}" + (f"#L{line}" if line else "")
        return dg.CodeReferencesMetadataValue(code_references=[dg.UrlCodeReference(url=address)])
