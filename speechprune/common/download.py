"""Downloading one file: progress, resume, checksum; the file appears whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from speechprune.common.files import WriteError

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_SECONDS = 60  # without an answer, until the connection counts as lost


def download_file(url: str, path: str | Path, sha256: str | None = None, progress: bool = True) -> Path:
    """Download ``url`` to ``path``; nothing to do where the file is there already.

    What a stopped download left in ``<path>.part`` is carried on where the server allows it.

    Args:
        url: http or https.
        path: parent folders are made.
        sha256: the file's digest; a file that differs is removed.
        progress: show a bar on stderr.
    Raises:
        ValueError: the server refused, or the digest differs. OSError: the connection failed; run it again to go on.
        WriteError: the disk is full, ...
    """
    path = Path(path)
    if path.is_file():
        return path
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url}: expected an address that begins with http:// or https://")
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as cause:
        raise WriteError(path, cause) from cause
    _download(url, part, progress)
    if sha256 is not None and (found := _digest(part)) != sha256:
        part.unlink()
        raise ValueError(f"{url}: sha256 {found}, expected {sha256}; the file changed or was damaged, and is removed")
    part.replace(path)
    log.info("fetched %s", path)
    return path


def _download(url: str, part: Path, progress: bool) -> None:
    have = part.stat().st_size
    headers = {"User-Agent": "speechprune"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (download_file allows http and https only)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:  # noqa: S310
            goes_on = reply.status == 206
            total = int(reply.headers.get("Content-Length") or 0) + (have if goes_on else 0)
            bar = tqdm(
                total=total or None, unit="B", unit_scale=True, desc=part.stem, disable=not progress, file=sys.stderr
            )
            with bar, part.open("ab" if goes_on else "wb") as file:
                bar.update(have if goes_on else 0)
                while block := reply.read(_BLOCK):
                    _write(file, block, part)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after what is there: it was complete
            return
        raise ValueError(f"{url}: the server answered {error.code} {error.reason}") from error
    except WriteError:
        raise
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise OSError(f"{url}: {reason}; run it again, it goes on after {part.stat().st_size} bytes") from error
    if total and part.stat().st_size < total:
        raise OSError(f"{url}: broke off after {part.stat().st_size} of {total} bytes; run it again to go on")


def _write(file, block: bytes, part: Path) -> None:
    try:
        file.write(block)
    except OSError as cause:
        raise WriteError(part, cause) from cause


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
