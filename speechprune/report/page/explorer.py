"""The data behind the page's explorer: chosen recordings, their questions, and what each system kept and said."""

from __future__ import annotations

import base64
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechprune.common.files import Problem
from speechprune.decoding.modes import LETTERED, by_way, folder_name
from speechprune.report.page.answers import Masks, answer
from speechprune.report.page.sample import choose_recordings
from speechprune.scoring.breakdown import read_asked
from speechprune.scoring.tally import by_system
from speechprune.scoring.titles import title

if TYPE_CHECKING:
    from lhotse import MonoCut

log = logging.getLogger(__name__)

SECONDS_EACH = 150  # sound embedded in a page, per recording wanted; about 0.5 MB


@dataclass
class Explorer:
    """What the page's script reads.

    Attributes:
        data: fit for JSON: ``systems``, ``recordings`` and ``questions`` in the order shown, ``chosen`` and
            ``opening``, the places of the system and of the question shown first, and ``masks``. A question has
            ``answers``, for each system a list: as many as there are rotations of the choices, see
            ``answers.answer``. Times are in seconds.
        sounds: base64 of an MP3 file for each recording, None without sound.
        questions: how many questions there are in ``data``, and how many in the hypotheses.
        telling: whether the system shown first is right on the question shown first, and Original is wrong.
    """

    data: dict
    sounds: list[str | None]
    questions: tuple[int, int]
    telling: bool


@dataclass
class _Sounds:
    """Encodes recordings as long as they fit into ``left`` seconds."""

    left: float
    encoded: list[str | None] = field(default_factory=list)

    def add(self, cut: MonoCut) -> tuple[str | None, str | None]:
        """(outline in base64 or None, why there is no sound or None)."""
        from speechprune.audio import AudioError, load_audio
        from speechprune.report.page.sound import RATE, mp3, outline

        self.encoded.append(None)
        if cut.duration > self.left:
            return None, (
                f"This recording lasts {cut.duration:.0f} s and is not embedded, to keep the page small: there was "
                f"room for {self.left:.0f} s more. A larger --recordings makes more room."
            )
        try:
            samples = load_audio(cut.recording, RATE)
        except AudioError as error:
            log.warning("%s: no sound in the page: %s", cut.id, error)
            return None, f"This recording cannot be read any more: {error}"
        self.left -= cut.duration
        self.encoded[-1] = base64.b64encode(mp3(samples)).decode()
        return base64.b64encode(outline(samples)).decode(), None


def explore(rows: list[dict], cuts: str | Path, recordings: int, titles: Mapping[str, str]) -> Explorer:
    """Data of up to ``recordings`` recordings.

    Args:
        rows: hypotheses of one experiment.
        cuts: what they are about, a file or a folder. Questions that are absent, changed or broken there are left
            out, with a warning.
        titles: {system: how it is called}.
    Raises:
        FileNotFoundError: no such cuts.
    """
    from speechprune.data.cuts import read_cuts

    problems: list[Problem] = []
    asked = read_asked(cuts, rows, problems)
    for problem in problems:
        log.warning("%s", problem)
    found = {cut.id: cut for cut in read_cuts(cuts, []) if any(_name(q) in asked for q in _questions(cut))}
    owners = {_name(question): cut.id for cut in found.values() for question in _questions(cut)}
    chosen = [found[name] for name in choose_recordings(rows, asked, owners, recordings)]
    ways = by_way(rows)
    groups = {(way, *key): group for way, part in ways.items() for key, group in by_system(part).items()}
    given: dict[str, dict[int, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for place, group in enumerate(groups.values()):
        for row in group:
            given[row["id"]][place].append(row)
    masks, sounds = Masks(), _Sounds(recordings * SECONDS_EACH)
    data: dict[str, Any] = {
        "systems": [_system(*key, titles) for key in groups],
        "chosen": _most_telling([key[1:] for key in groups]),
        "recordings": [_recording(cut, sounds) for cut in chosen],
        "questions": [
            _question(place, question, given[question["id"]], len(groups), masks)
            for place, cut in enumerate(chosen)
            for question in _questions(cut)
            if question["id"] in asked
        ],
        "masks": masks.packed,
    }
    first = next(iter(ways), ""), "original", None
    original = list(groups).index(first) if first in groups else None
    opening = _opening(data["questions"], original, data["chosen"])
    data["opening"] = opening or 0
    counts = len(data["questions"]), len({row["id"] for row in rows})
    return Explorer(data, sounds.encoded, counts, opening is not None)


def _questions(cut: MonoCut) -> list[dict]:
    questions = (cut.custom or {}).get("questions")
    return [question for question in questions if isinstance(question, dict)] if isinstance(questions, list) else []


def _name(question: dict) -> str:
    return str(question.get("id"))


def _system(way: str, system: str, rate: float | None, titles: Mapping[str, str]) -> dict:
    name, shown = title(system, titles), "" if rate is None else f"{rate:g}"
    name += "" if way == LETTERED else f", {way}"
    return {"label": folder_name(system, rate, way), "title": f"{name} {shown}".strip(), "name": name, "rate": shown}


def _most_telling(keys: Sequence[tuple[str, float | None]]) -> int:
    """Which system is shown at first: SpeechPrune at its middle rate, else the first with a rate, else the first."""
    rated = [place for place, (_, rate) in enumerate(keys) if rate is not None]
    ours = [place for place in rated if keys[place][0] == "speechprune"]
    return ours[(len(ours) - 1) // 2] if ours else (rated or [0])[0]


def _opening(questions: list[dict], original: int | None, shown: int) -> int | None:
    """The first question on which system ``original`` is wrong and ``shown`` is right, under all rotations."""
    if original is None:
        return None

    def outcomes(question: dict, system: int) -> set[bool | None]:
        answers = question["answers"][system]
        return {given["prediction"] == question["answer"] if given["error"] is None else None for given in answers}

    telling = (outcomes(q, original) == {False} and outcomes(q, shown) == {True} for q in questions)
    return next((place for place, found in enumerate(telling) if found), None)


def _recording(cut: MonoCut, sounds: _Sounds) -> dict:
    peaks, note = sounds.add(cut)
    sentences = sorted(cut.supervisions, key=lambda sentence: sentence.start)
    return {
        "id": cut.id,
        "duration": round(cut.duration, 3),
        "peaks": peaks,
        "note": note,
        "sentences": [
            {
                "start": round(sentence.start, 3),
                "end": round(sentence.end, 3),
                "speaker": str(sentence.speaker or "").removeprefix(f"{cut.id}-"),
                "text": sentence.text or "",
            }
            for sentence in sentences
        ],
    }


def _question(recording: int, question: dict, given: dict[int, list[dict]], systems: int, masks: Masks) -> dict:
    texts = question.get("choices") or question["answers"]  # the references of one without choices
    right, count = question.get("answer") or 0, len(texts)
    return {
        "id": question["id"],
        "recording": recording,
        "question": question["question"],
        "choices": texts,
        "answer": right,
        "evidence": _spans(question.get("evidence")),
        "distractors": _spans(question.get("distractors")),
        "answers": [[answer(row, count, masks, right) for row in given.get(place, [])] for place in range(systems)],
    }


def _spans(spans: list[dict] | None) -> list[list[float]]:
    return [[round(span["start"], 3), round(span["start"] + span["duration"], 3)] for span in spans or []]
