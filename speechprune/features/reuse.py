"""What of an earlier run still holds for a cut: states belong to samples, not to the name of a file or to a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from lhotse import MonoCut

from speechprune.audio import AudioError, AudioMissingError, file_states, hash_audio
from speechprune.data.cuts import STAGE_FIELDS
from speechprune.features.dump import custom_fields, is_stored

_RENEWED = ("audio_files", "error", "source_hash", "revision")


def look_up(cut: MonoCut, before: MonoCut | None, dump: Path, allowed: Collection[str]) -> dict | None:
    """What a cut's line in the dump, ``before``, is worth now.

    A file whose size and time of change are those that stage 2 noted counts as unchanged; any other is read and
    compared by its samples. A file that is gone cannot have been replaced: the states stay.

    Args:
        allowed: types of sources that may be read.
    Returns:
        {} where the line is as it should be; the custom fields of a new line where the samples are the same and
        something else is not; None where the recording has to be encoded.
    """
    old = custom_fields(before)
    if before is None or not is_stored(cut.id, old, dump):
        return None
    same = old.get("source_hash") == hash_cut(cut)
    if "audio_hash" not in old:  # of a time before samples were hashed
        return {} if same else None
    try:
        files = file_states(cut.recording)
        if files == old.get("audio_files"):
            if same:
                return {}
            if cut.recording == before.recording:
                return _kept(old, files)
        return _kept(old, files) if hash_audio(cut.recording, allowed) == old["audio_hash"] else None
    except AudioMissingError:
        return {} if same else None
    except (AudioError, AttributeError, TypeError):
        return None  # encoding it says what is wrong


def hash_cut(cut: MonoCut) -> str:
    """``source_hash``: of everything that stands in the cut but its corpus' name, 16 hex digits."""
    row = cut.to_dict()
    if isinstance(row.get("custom"), dict):  # dumps from before cuts had a corpus stay valid
        row = row | {"custom": {key: value for key, value in row["custom"].items() if key != "corpus"}}
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]


def _kept(old: dict, files: list[list[int]]) -> dict:
    return {key: old[key] for key in STAGE_FIELDS if key in old and key not in _RENEWED} | {"audio_files": files}
