"""Ids and names that come from outside, as a message shows them and as a file is called."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

# A path of some machine, but no part of an address; a token of the hub.
OURS = re.compile(r"(?:(?<![\w:/.~<-])(?:~|/[\w.+-]+)|(?<=\w:)/[\w.+-]+)(?:/[\w.+-]+)+|\bhf_[A-Za-z0-9]{20,}")
_LONGEST = 120  # characters of an id that a file's name takes over


def escaped(text: str, kept: str = "") -> str:
    """``text`` with an escape, ``\\x1b``, for each character that a terminal would obey and not show.

    Args:
        kept: such characters that are wanted, as line ends are in a text of several lines.
    """
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def file_name(identity: str) -> str:
    """The id of something as the name of its file, suffix not included: itself, or of a long one its start and a hash.

    Args:
        identity: without slashes and the like; that is the caller's to check.
    """
    if len(identity) <= _LONGEST:
        return identity
    return f"{identity[:_LONGEST]}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def without_paths(text: str) -> str:
    """``text`` for others to read: paths of one machine end in what they are called, tokens of the hub are dots."""
    return OURS.sub(lambda found: Path(found[0]).name if "/" in found[0] else "...", text)
