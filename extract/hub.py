"""Single files of the Hugging Face hub: from the local cache without a network, else downloaded."""

import json
from pathlib import Path
from typing import Any

from triher.errors import StopRun

_HTTP_NOT_ALLOWED = (401, 403)
SITE = "https://huggingface.co"


def cached_file(repository: str, file: str, revision: str) -> Path | None:
    """The file where an earlier download put it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def fetch_file(repository: str, file: str, revision: str, *, remedy: str) -> Path | None:
    """The file from the cache or the hub; None where the repository does not have it.

    Args:
        repository: ``OWNER/NAME``.
        file: its path in the repository.
        revision: commit, tag or branch.
        remedy: what to do where the hub cannot be reached.

    Raises:
        StopRun: ``weights_missing`` where it cannot be fetched: no network, no such repository, no access.
    """
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    place = f"{repository}/{file}"
    found = try_to_load_from_cache(repository, file, revision=revision)
    if found is _CACHED_NO_EXIST:
        return None
    try:
        return Path(found or hf_hub_download(repository, file, revision=revision))
    except HfHubHTTPError as error:
        if isinstance(error, EntryNotFoundError):
            return None
        if error.response.status_code in _HTTP_NOT_ALLOWED:
            raise _not_allowed(repository, place) from error
        raise _unreachable(place, error, remedy) from error
    except (LocalEntryNotFoundError, OSError, RuntimeError, ValueError) as error:
        raise _unreachable(place, error, remedy) from error


def read_json(repository: str, file: str, revision: str) -> dict[str, Any] | None:
    """A configuration of the repository; None where it has none of that name."""
    path = fetch_file(repository, file, revision, remedy="connect to the hub once; its files stay in the local cache")
    if path is None:
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _not_allowed(repository: str, place: str) -> StopRun:
    """The hub hands the file out to some accounts only."""
    page = f"{SITE}/{repository}"
    message = f"the hub does not hand out {place} to you: the repository is gated, private, or not there"
    remedy = f"ask for access at {page}, then put a token of your account into the environment variable HF_TOKEN"
    return StopRun("weights_missing", message, remedy=remedy)


def _unreachable(place: str, error: Exception, remedy: str) -> StopRun:
    """The file cannot be had from here."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return StopRun("weights_missing", f"{place} cannot be fetched from the hub: {reason}", remedy=remedy)
