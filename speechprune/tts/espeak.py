"""espeak-ng through ``espeakng-loader``: the library and its voices from a wheel, no system package.

API: https://github.com/espeak-ng/espeak-ng/blob/master/src/include/espeak-ng/speak_lib.h
"""

from __future__ import annotations

import _ctypes
import ctypes
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import espeakng_loader
import numpy as np

from speechprune.tts.base import TTSEngine, Utterance, Voice, Word

_LANGUAGE = "en-us"
_FEMALE = {"alicia", "andrea", "annie", "anika", "aunty", "belinda", "grandma", "linda", "steph", "whisperf"}
_FEMALE |= {"f1", "f2", "f3", "f4", "f5", "klatt2", "shelby", "steph2", "steph3"}
# Effects and robots: kept out of voices(), a corpus wants people.
_EFFECTS = (
    "robo",
    "klatt",
    "whisper",
    "demonic",
    "tweaky",
    "fast",
    "croak",
    "storm",
    "serious",
    "announcer",
    "anxious",
)

_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8 = 2, 1, 1
_RATE, _PITCH = 1, 3
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7
_SPEECH_FLOOR = 0.01  # amplitude below which trailing audio counts as silence
_TAIL_SECONDS = 0.03


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


@cache
def _variants() -> tuple[str, ...]:
    """Names of the voice variants that came with the library."""
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return tuple(sorted(p.name for p in folder.iterdir() if " " not in p.name))


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak(TTSEngine):
    """English voices of espeak-ng at 22,050 Hz. Not for several threads at once: the C library holds global state."""

    name = "espeak"
    licence = "GPL-3.0-or-later (the program)"
    _library: ClassVar[ctypes.CDLL | None] = None  # the one copy in this process, whichever instance loaded it

    def __init__(self, weights: str | None = None) -> None:
        super().__init__(weights)
        self._chunks: list[np.ndarray] = []
        self._word_events: list[tuple[int, int]] = []  # (character position from 1, sample)
        self._pauses: list[int] = []  # samples at which a pause begins
        self._callback = _CALLBACK(self._receive)
        self._load()

    def voices(self) -> list[Voice]:
        people = [n for n in _variants() if not any(effect in n.lower() for effect in _EFFECTS)]
        return [Voice(f"{_LANGUAGE}+{n}", "F" if n.lower() in _FEMALE else "M") for n in people]

    def speak(self, text: str, voice: str, rate: int = 170, pitch: int = 50) -> Utterance:
        words = text.split()
        if not words:
            raise ValueError("nothing to speak: the text is empty")
        variant = voice.removeprefix(f"{_LANGUAGE}+")  # espeak itself falls back to its default voice without a word
        if variant == voice or variant not in _variants():
            raise ValueError(f"espeak has no voice {voice!r}; names look like {_LANGUAGE}+f2, see Espeak().voices()")
        # Oscillator phases and noise live in static variables that no call resets: only a fresh copy of the library
        # speaks the same text the same way twice (5 ms).
        library = self._load()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng did not load its voice {voice!r}; reinstall espeakng-loader")
        library.espeak_SetParameter(_RATE, rate, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        self._chunks, self._word_events, self._pauses = [], [], []
        line = " ".join(words).encode()
        library.espeak_Synth(line, len(line) + 1, 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768
        loud = np.flatnonzero(np.abs(samples) > _SPEECH_FLOOR)
        end = int(loud[-1]) + 1 if len(loud) else len(samples)
        samples = samples[: end + int(_TAIL_SECONDS * self.sampling_rate)]
        return Utterance(samples, self.sampling_rate, tuple(self._align(words, end)))

    def _load(self) -> ctypes.CDLL:
        """A fresh copy of the library, started, in the place of the last one."""
        if Espeak._library is not None:
            Espeak._library.espeak_Terminate()
            _ctypes.dlclose(Espeak._library._handle)
        library = Espeak._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.sampling_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS)
        if self.sampling_rate <= 0:
            raise RuntimeError(f"espeak-ng did not start with its data in {data.decode()}; reinstall espeakng-loader")
        library.espeak_SetSynthCallback(self._callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        ctypes.CDLL(None).srand(1)  # the Klatt voices draw their breath from the C library's rand()
        return library

    def _receive(self, wav, count: int, events) -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(wav, (count,)).copy())
        i = 0
        while events[i].type != _END_OF_LIST:
            event = events[i]
            if event.type == _WORD:
                self._word_events.append((event.text_position, event.sample))
            elif event.type == _PHONEME and event.id.string.startswith(b"_"):
                self._pauses.append(event.sample)
            i += 1
        return 0

    def _align(self, words: list[str], end: int) -> list[Word]:
        """Spread the spans between word events over the words they cover (espeak merges some words into one event)."""
        first_char = np.cumsum([0, *(len(w) + 1 for w in words[:-1])])
        starts: dict[int, int] = {0: self._word_events[0][1] if self._word_events else 0}
        for position, sample in self._word_events:
            starts.setdefault(int(np.searchsorted(first_char, position - 1, side="right") - 1), sample)
        marks = [*sorted(starts.items()), (len(words), end)]
        aligned: list[Word] = []
        for (first, begin), (after, until) in pairwise(marks):
            pause = next((p for p in self._pauses if begin < p < until), until)
            group = words[first:after]
            cuts = np.cumsum([0, *map(len, group)]) / sum(len(w) for w in group)
            times = (begin + (max(pause, begin) - begin) * cuts) / self.sampling_rate
            aligned += [Word(w, float(a), float(b)) for w, a, b in zip(group, times, times[1:], strict=False)]
        return aligned
