"""Servers that speak OpenAI's protocols: where a key comes from, and that it stays out of files and messages."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from speechprune.common.files import shown

KEY = "OPENAI_API_KEY"  # of the environment: the one place a key is taken from


def key_for(url: object, what: str) -> str:
    """The key for an address, "" where there is none and a local server will want none.

    Args:
        url: http or https, such as http://localhost:8000/v1.
        what: as messages call it, such as --base-url.
    Raises:
        ValueError: no such address, a key, name or password in it, no key where one is needed, or an odd one.
    """
    address = urlsplit(url) if isinstance(url, str) else None
    if address is None or address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"{what} {shown(url)}: expected an address with http:// or https://")
    if address.username or address.password or address.query:
        raise ValueError(f"{what}: a name, password or query in it would end up in files; a key belongs into {KEY}")
    key = os.environ.get(KEY, "").strip()
    if not key and address.hostname.endswith("openai.com"):
        raise ValueError(f"{KEY} is not set in the environment; set it, or name another endpoint with {what}")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"{KEY}: what it holds is no key, which has letters, digits and signs on one line")
    return key


def without_key(text: str, key: str) -> str:
    """``text`` without the key, should a server echo it."""
    return text.replace(key, "***") if key else text
