"""Models of the Hugging Face Hub: a revision becomes one commit, and a commit one folder of the hub's cache."""

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.file_download import repo_folder_name

from sum_assets.errors import UserError, first_line


def find_commit(hub_id: str, revision: str) -> str:
    """Return the full hash of the commit that a branch, tag or hash names now.

    The hub is asked. Where it cannot be reached, the cache's own record of the branch or tag is taken. Raises
    UserError where neither knows it.
    """
    with _explained(hub_id, revision):
        try:
            return str(HfApi().resolve_revision(hub_id, revision=revision).resolved)
        except (RevisionResolutionError, RevisionNotFoundError):
            if commit := _cached_commit(hub_id, revision):
                return commit
            raise


def fetch(hub_id: str, commit: str, names: Sequence[str]) -> Path:
    """Return the folder of a commit in the cache, after those of the named files that it has are there.

    Raises UserError where a file is neither cached nor to be had.
    """
    with _explained(hub_id, commit):
        return Path(snapshot_download(hub_id, revision=commit, allow_patterns=[glob.escape(name) for name in names]))


def list_names(hub_id: str, commit: str) -> list[str] | None:
    """Return the names of all files of a commit; None where the hub was never asked for them."""
    sizes = file_sizes(hub_id, commit)
    return None if sizes is None else list(sizes)


def file_sizes(hub_id: str, commit: str) -> dict[str, int] | None:
    """Return the bytes of all files of a commit by name; None where the hub was never asked for them."""
    try:
        return {file.path: file.size for file in get_cached_repo_tree(hub_id, revision=commit)}
    except CachedRepoTreeNotFoundError:
        return None


def offline() -> bool:
    """Return whether the user keeps us from asking the hub."""
    return bool(constants.HF_HUB_OFFLINE)


def _cache(hub_id: str) -> Path:
    return Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=hub_id, repo_type="model")


def _cached_commit(hub_id: str, abbreviated: str) -> str | None:
    """Return the only cached commit whose hash begins so."""
    if len(abbreviated) < 4:  # what git takes for an abbreviation
        return None
    commits = [path.name for path in (_cache(hub_id) / "snapshots").glob(f"{glob.escape(abbreviated.lower())}*")]
    return commits[0] if len(commits) == 1 else None


@contextmanager
def _explained(hub_id: str, revision: str) -> Iterator[None]:
    """Raise what goes wrong as a UserError that says what to do."""
    page = f"{constants.ENDPOINT}/{hub_id}"
    try:
        yield
    except HFValidationError as error:
        raise UserError(
            f"model: {hub_id} is neither a folder, a GGUF file nor a name on the Hugging Face Hub, such as "
            f"google/flan-t5-base. Reason: {first_line(error)}"
        ) from error
    except GatedRepoError as error:
        raise UserError(
            f"model: {hub_id} is gated. Accept its terms at {page}, and log in with `hf auth login`, or set HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"model: the Hugging Face Hub has no model {hub_id} that you may read. Check its name. If it is private, "
            "log in with `hf auth login`, or set HF_TOKEN."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"revision: {hub_id} has no revision {revision}. Name a branch, tag or commit of {page}/commits/main."
        ) from error
    except (RevisionResolutionError, LocalEntryNotFoundError) as error:
        cached = _cached_revisions(hub_id)
        also = f" Cached are {', '.join(cached)}." if cached else ""
        raise UserError(
            f"model: {hub_id} at revision {revision} is neither cached here nor available from the Hugging Face Hub. "
            f"Check its name and the network (HF_HUB_OFFLINE is {int(offline())}), or name a folder "
            f"with the model's files.{also} Reason: {first_line(error)}"
        ) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise UserError(
                f"model: the Hugging Face Hub refuses {hub_id} to your login. Check it with `hf auth whoami`, or log "
                f"in anew with `hf auth login`. Reason: {first_line(error)}"
            ) from error
        raise UserError(
            f"model: the Hugging Face Hub does not serve {hub_id}. Try again later. Reason: {first_line(error)}"
        ) from error
    except Exception as error:  # those of the HTTP library, a connection that breaks off for one
        raise UserError(
            f"model: {hub_id} could not be fetched from the Hugging Face Hub. Check the network. "
            f"Reason: {type(error).__name__}: {first_line(error)}"
        ) from error


def _cached_revisions(hub_id: str) -> list[str]:
    """Return the branches and tags that the cache knows, else its commits."""
    cache = _cache(hub_id)
    refs = sorted(path.relative_to(cache / "refs").as_posix() for path in (cache / "refs").rglob("*") if path.is_file())
    return refs or sorted(path.name for path in (cache / "snapshots").glob("*"))
