"""Speaking a published transcript where the corpus' own recordings are not at hand: one voice for each speaker."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from lhotse import Recording, SupervisionSegment
from scipy.signal import resample_poly

from speechprune.alignment import Sentence, Timed, supervise
from speechprune.audio import open_recording, write_wav
from speechprune.tts import TTSEngine, Voice

SAMPLING_RATE = 16_000
_LEVEL = 0.8  # of full scale, leaves room for what resampling adds
_PAUSES = {"same": (0.05, 0.35), "other": (0.15, 0.6)}  # seconds after a sentence, by who speaks next


@dataclass(frozen=True)
class Role:
    """How one speaker of a recording sounds: a voice, words per minute, pitch from 0 to 99."""

    voice: Voice
    rate: int
    pitch: int


def cast(genders: Mapping[str, str | None], voices: Sequence[Voice], rng: random.Random) -> dict[str, Role]:
    """A voice of the right sex for each speaker, no voice twice while there are enough.

    Args:
        genders: {speaker: "F", "M" or None} of one recording; None takes the sex that fewer of the others have.
        voices: of the engine.
        rng: decides.
    Raises:
        ValueError: the engine has no voice of a sex that is needed.
    """
    known = list(genders.values())
    roles: dict[str, Role] = {}
    free: dict[str, list[Voice]] = {"F": [], "M": []}
    for speaker, gender in genders.items():
        if gender is None:
            gender = rng.choice("FM") if known.count("F") == known.count("M") else min("FM", key=known.count)
            known.append(gender)
        if not free[gender]:
            free[gender] = [voice for voice in voices if voice.gender == gender]
            rng.shuffle(free[gender])
        if not free[gender]:
            raise ValueError(f"speaker {speaker}: the engine has no voice of sex {gender}")
        roles[speaker] = Role(free[gender].pop(), rng.randint(150, 190), rng.randint(40, 60))
    return roles


def resynthesise(
    recording_id: str, sentences: Sequence[Sentence], engine: TTSEngine, wav: Path
) -> tuple[Recording, dict[int, SupervisionSegment]]:
    """Speak the sentences one after another into ``wav`` (16 kHz, mono, 16 bit).

    The same id, sentences and engine give the same bytes. A sentence without a letter or digit is not spoken.

    Returns:
        the recording, and {number of a sentence: its supervision}, with word times as the engine gives them.
    Raises:
        ValueError: nothing to speak, or no voice of the sex that is needed.
        WriteError: the disk is full, ...
    """
    spoken = {k: s for k, s in enumerate(sentences) if re.search(r"\w", s.text)}
    if not spoken:
        raise ValueError("nothing to speak: the transcript has no words")
    rng = random.Random(recording_id)  # noqa: S311  (no secret)
    roles = cast({s.speaker: s.gender for s in spoken.values()}, engine.voices(), rng)
    chunks: list[np.ndarray] = []
    supervisions: dict[int, SupervisionSegment] = {}
    now = 0
    order = list(spoken.items())
    for (k, sentence), after in zip(order, [*(s for _, s in order[1:]), None], strict=True):
        role = roles[sentence.speaker]
        said = engine.speak(sentence.text, role.voice.name, role.rate, role.pitch)
        wave = resample_poly(said.samples, SAMPLING_RATE, said.sampling_rate).astype(np.float32)
        start = now / SAMPLING_RATE
        words = [(w.text, start + w.start, start + w.end) for w in said.words]
        end = words[-1][2] if words else start + said.duration
        timed = Timed(words[0][1] if words else start, end, tuple(words))
        supervisions[k] = supervise(recording_id, k, replace(sentence, gender=role.voice.gender), timed)
        supervisions[k].custom = {"voice": role.voice.name}
        turn = "same" if after is None or after.speaker == sentence.speaker else "other"
        pause = int(SAMPLING_RATE * rng.uniform(*_PAUSES[turn]))
        chunks += [wave * _LEVEL, np.zeros(pause, np.float32)]
        now += len(wave) + pause
    write_wav(wav, np.clip(np.concatenate(chunks), -1, 1), SAMPLING_RATE)
    return open_recording(wav, recording_id), supervisions
