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
from speechprune.tts import TTSEngine, Voice, get_engine, read_names

SAMPLING_RATE = 16_000
_GAIN = 0.8  # leaves room for what resampling adds
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


@dataclass(frozen=True)
class Synthesis:
    """How a corpus is spoken: what ``--tts``, ``--voices`` and ``--level`` say.

    Attributes:
        tts: the engine, as ``get_engine`` takes it.
        voices: those that may speak; all of the engine's if empty.
        level: of every sentence, see ``resynthesise``.
    """

    tts: str
    voices: tuple[Voice, ...] = ()
    level: float | None = None

    @classmethod
    def read(cls, tts: str | None, voices: str | Path | None = None, level: float | None = None) -> Synthesis | None:
        """None without ``tts``. ``voices``: a file of their names, one a line.

        Raises:
            ValueError: an unknown engine or voice, or an option that belongs to ``tts`` without it.
        """
        if tts is None:
            for option, value in {"--voices": voices, "--level": level}.items():
                if value is not None:
                    raise ValueError(f"{option} {value} belongs to --tts, which is not given; give an engine")
            return None
        engine = get_engine(tts)
        return cls(tts, tuple(read_names(Path(voices), engine.voices())) if voices else (), level)

    @property
    def engine(self) -> TTSEngine:
        return get_engine(self.tts)

    @property
    def identity(self) -> object:
        """What decides how a text sounds, as JSON holds it."""
        options = {"voices": [voice.name for voice in self.voices], "level": self.level}
        given = {name: value for name, value in options.items() if value not in ([], None)}
        return [self.engine.identity, given] if given else self.engine.identity

    def speak(
        self, recording_id: str, sentences: Sequence[Sentence], wav: Path
    ) -> tuple[Recording, dict[int, SupervisionSegment]]:
        """``resynthesise`` with these settings."""
        return resynthesise(recording_id, sentences, self.engine, wav, self.voices, self.level)


def resynthesise(
    recording_id: str,
    sentences: Sequence[Sentence],
    engine: TTSEngine,
    wav: Path,
    voices: Sequence[Voice] = (),
    level: float | None = None,
) -> tuple[Recording, dict[int, SupervisionSegment]]:
    """Speak the sentences one after another into ``wav`` (16 kHz, mono, 16 bit).

    The same arguments give the same bytes. A sentence without a letter or digit is not spoken.

    Args:
        voices: of the engine, that may speak; all of them if empty.
        level: RMS of every sentence, in dB below full scale (-23, say); None: as loud as the engine speaks it, at 0.8.
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
    roles = cast({s.speaker: s.gender for s in spoken.values()}, voices or engine.voices(), rng)
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
        loud = wave * _GAIN if level is None else levelled(wave, level)
        chunks += [loud, np.zeros(pause, np.float32)]
        now += len(wave) + pause
    write_wav(wav, np.clip(np.concatenate(chunks), -1, 1), SAMPLING_RATE)
    return open_recording(wav, recording_id), supervisions


def levelled(samples: np.ndarray, level: float) -> np.ndarray:
    """(T,) samples at an RMS of ``level`` dB below full scale, or as near to it as full scale allows; silence stays."""
    peak = float(np.abs(samples).max(initial=0))
    if not peak:
        return samples
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return (samples * min(10 ** (level / 20) / rms, 1 / peak)).astype(np.float32)
