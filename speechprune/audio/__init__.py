"""Audio in and out: opened, streamed window by window, told apart by its samples, written."""

from speechprune.audio.opening import (
    FILES,
    AudioError,
    AudioMissingError,
    file_states,
    is_whole_wav,
    open_recording,
    refuse_source,
    write_wav,
)
from speechprune.audio.streaming import hash_audio, load_audio, load_windows, new_digest

__all__ = [
    "FILES",
    "AudioError",
    "AudioMissingError",
    "file_states",
    "hash_audio",
    "is_whole_wav",
    "load_audio",
    "load_windows",
    "new_digest",
    "open_recording",
    "refuse_source",
    "write_wav",
]
