"""Models by name: what is fetched from the hub, and what is said where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RevisionNotFoundError

MINI = Path(__file__).parents[1] / "training" / "mini" / "checkpoint"  # the model that ships, under the name "mini"


def is_path(name: str) -> bool:
    """Whether a name that is no folder was meant as one: hub names are ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/")


def fetch_snapshot(name: str, patterns: Sequence[str], revision: str | None = None) -> Path:
    """A hub model's files that match ``patterns``, fetched unless they are here.

    Returns:
        their folder; its name is the commit.
    Raises:
        FileNotFoundError: the hub cannot be reached, or does not give the model; the message says which.
    """
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        reason = str(cause).strip().splitlines()[0].rstrip(".")
        if isinstance(error, LocalEntryNotFoundError) and not isinstance(cause, RevisionNotFoundError):
            reason = reason.rpartition("] ")[2]  # behind "[Errno -2] "
            raise FileNotFoundError(
                f"{name}: no folder of that name here, and the hub cannot be reached ({reason}); copy the model here "
                "and give its folder, or use mini"
            ) from error
        raise FileNotFoundError(
            f"{name}: neither a folder here nor a model that the hub gives us ({reason})"
        ) from error
