"""Speakers of LibriTTS or LibriTTS-R as voices to clone: whom, and which of their recordings.

Corpus: https://www.openslr.org/60 (CC BY 4.0), LibriTTS-R https://www.openslr.org/141; the folder with SPEAKERS.txt
(``ID | SEX | SUBSET | MINUTES | NAME``, ``;`` before comments) and ``train-clean-100/<speaker>/<chapter>/*.wav``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import soundfile

from speechprune.common.files import shown
from speechprune.tts.base import Voice

_SUBSET = "train-clean-100"
_SECONDS = (4.0, 12.0)  # of a recording that a style can be taken of


@dataclass(frozen=True)
class Reference:
    """A voice, and the recording that it is cloned from."""

    voice: Voice
    wav: Path


def choose_references(corpus: Path, speakers: int, seed: int = 0) -> list[Reference]:
    """Speakers drawn from train-clean-100, as many women as men, each with a recording of 4 to 12 s.

    The same corpus, number and seed give the same ones.

    Args:
        corpus: folder of LibriTTS.
        speakers: how many; of an odd number, one woman more.
    Raises:
        FileNotFoundError: no SPEAKERS.txt. ValueError: a broken line in it, or too few speakers with such a recording.
    """
    rng = random.Random(seed)  # noqa: S311  (no secret)
    sexes = read_speakers(corpus / "SPEAKERS.txt")
    chosen: list[Reference] = []
    for sex, wanted in (("F", speakers - speakers // 2), ("M", speakers // 2)):
        names = [name for name, theirs in sexes.items() if theirs == sex]
        rng.shuffle(names)
        found = (_reference(corpus / _SUBSET / name, Voice(f"libritts_{name}", sex), rng) for name in names)
        references = list(islice((reference for reference in found if reference is not None), wanted))
        if len(references) < wanted:
            raise ValueError(
                f"{corpus / _SUBSET}: {len(references)} speakers of sex {sex} with a recording of {_SECONDS[0]:g} to "
                f"{_SECONDS[1]:g} s, {wanted} are wanted; ask for fewer, or complete the corpus"
            )
        chosen += references
    return sorted(chosen, key=lambda reference: reference.voice.name)


def read_speakers(path: Path) -> dict[str, str]:
    """{speaker of train-clean-100: "F" or "M"}, in the order of the file.

    Raises:
        FileNotFoundError: no such file. ValueError: a line of another form.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}; give the folder of LibriTTS, which holds it")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith(";"):
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) < 3 or not parts[0].isdigit() or parts[1] not in ("F", "M"):
            raise ValueError(f"{path}:{number}: {shown(line)}, expected ID | SEX | SUBSET | MINUTES | NAME")
        if parts[2] == _SUBSET:
            found[parts[0]] = parts[1]
    return found


def _reference(folder: Path, voice: Voice, rng: random.Random) -> Reference | None:
    """The first recording of a suitable length, in an order that is drawn; None where there is none."""
    wavs = sorted(folder.glob("*/*.wav"))
    rng.shuffle(wavs)
    for wav in wavs:
        info = soundfile.info(str(wav))
        if _SECONDS[0] <= info.frames / info.samplerate <= _SECONDS[1]:
            return Reference(voice, wav)
    return None
