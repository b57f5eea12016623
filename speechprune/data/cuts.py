"""The cut contract: one Lhotse ``MonoCut`` per recording, sentences as supervisions, questions as a custom field.

``cut.custom["questions"]`` is a list of
``{"id": "<recording id>-q<k>", "question": str, "choices": [str, ...], "answer": index, "evidence": spans or None}``
or, where it is open-ended, without ``choices`` and ``answer`` but with ``answers``, the texts that answer it;
with spans ``[{"start": seconds, "duration": seconds}, ...]`` counted from the recording's start; ``distractors``, where
a question has them, are spans that say wrong choices. ``custom["corpus"]``, where it is known, names the recipe that
the cut comes from: rows carry it on, and tables of several corpora go by it. Other custom fields
(``scenario``, ``topic``, ``hard``, ...) and further keys of a question are the corpus' own; those of ``STAGE_FIELDS``
are written by stage 2.
"""

from __future__ import annotations

import gzip
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from speechprune.audio import FILES, refuse_source
from speechprune.common.files import Problem, atomic_write, json_line, read_numbered, shown
from speechprune.prompts import LETTERS

__all__ = ["Problem", "read_cuts", "validate_cut", "validate_cuts", "write_cuts"]

# Custom fields of a dump's cuts; ``features.extract`` says what they hold.
STAGE_FIELDS = (
    "audio_tokens",
    "signals",
    "signal_names",
    "checksums",
    "audio_hash",
    "audio_files",
    "error",
    "source_hash",
    "revision",
)
TOLERANCE = 0.025  # seconds a manifest's times may be off, as in Lhotse
LABELS = ("corpus", "resynthesised")  # custom fields that every row of stage 3 carries on
_SPOKEN = ("text", "speaker", "gender")  # fields of a supervision that are texts, where they are known
_ID = re.compile(r"[^\s/]+")  # ids name Kaldi archive entries


def read_cuts(path: str | Path, problems: list[Problem], only: Collection[str] | None = None) -> Iterator[MonoCut]:
    """The cuts of a file, or of a folder's ``cuts*.jsonl`` and ``cuts*.jsonl.gz`` in the order of their names.

    Args:
        path: .jsonl, .jsonl.gz, or a folder.
        problems: gets one entry, ``where`` = "file:line", per line that is no JSON object or no MonoCut.
        only: ids of the cuts that are wanted; the others cost no more than their JSON.
    Raises:
        FileNotFoundError: no such file, or a folder without cuts.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted([*path.glob("cuts*.jsonl"), *path.glob("cuts*.jsonl.gz")])
        if not files:
            raise FileNotFoundError(f"no cuts*.jsonl or cuts*.jsonl.gz in {path}")
    for file in files:
        for number, row in read_numbered(file, problems):
            where, kind = f"{file}:{number}", row.get("type")
            if kind != "MonoCut":
                problems.append(Problem(where, "type", shown(kind), "MonoCut"))
                continue
            if not isinstance(row.get("id"), str):
                problems.append(Problem(where, "id", shown(row.get("id")), "a text"))
                continue
            if only is not None and row["id"] not in only:
                continue
            try:
                cut = MonoCut.from_dict(row)
            except Exception as error:  # Lhotse's readers fail in many ways on a damaged manifest
                problems.append(Problem(where, "MonoCut", shown(f"{type(error).__name__}: {error}"), "a Lhotse cut"))
            else:
                yield cut


def write_cuts(path: str | Path, cuts: Iterable[MonoCut]) -> int:
    """Write ``cuts`` to .jsonl or .jsonl.gz and return their number; the same cuts give the same bytes.

    The file appears whole or not at all; parent folders are made.

    Raises:
        WriteError: the disk is full, ...
        ValueError: the name ends in neither.
    """
    path = Path(path)
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise ValueError(f"{path}: expected a name that ends in .jsonl or .jsonl.gz")
    count = 0
    with atomic_write(path, "wb") as file:
        # No name and no time in the gzip header: they would change the bytes.
        gz = path.suffix == ".gz"
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) if gz else nullcontext(file) as packed:
            for cut in cuts:
                packed.write(json_line(cut.to_dict()))
                count += 1
    return count


def validate_cuts(cuts: Iterable[MonoCut], sources: Collection[str] = FILES) -> list[Problem]:
    """``validate_cut`` on each, and ids that two cuts share: cut ids and question ids."""
    problems: list[Problem] = []
    cut_ids: set[str] = set()
    owners: dict[str, str] = {}
    for cut in cuts:
        problems += validate_cut(cut, sources)
        where, key = shown(cut.id), repr(cut.id)
        if key in cut_ids:
            problems.append(Problem(where, "id", where, "an id that no other cut has"))
            continue
        cut_ids.add(key)
        for i, question in enumerate(_questions(cut)):
            name = repr(question.get("id"))
            if owners.setdefault(name, where) != where:
                limit = f"an id that no other cut has ({owners[name]} has it)"
                problems.append(Problem(where, f"questions[{i}].id", shown(question.get("id")), limit))
    return problems


def validate_cut(cut: MonoCut, sources: Collection[str] = FILES) -> list[Problem]:
    """Every broken promise of one cut, none when it keeps them all. Never raises, whatever the fields hold.

    Args:
        sources: types of Lhotse's sources that its recording may have.
    """
    found = _Found(shown(cut.id))
    found.expect(_is_id(cut.id), "id", cut.id, "a non-empty printable text without blanks and '/'")
    end = _validate_recording(cut, sources, found)
    _validate_supervisions(cut, end, found)
    custom = cut.custom if isinstance(cut.custom, dict) else {}
    for name in LABELS:
        value = custom.get(name)
        found.expect(
            value is None or (_is_text(value) and value.isprintable()), name, value, "one line of printable text"
        )
    questions: Any = custom.get("questions")
    if found.expect(isinstance(questions, list), "questions", questions, "a list"):
        for i, question in enumerate(questions):
            if found.expect(isinstance(question, dict), f"questions[{i}]", question, "an object"):
                _validate_question(f"questions[{i}]", question, cut.id, end, found)
        for name, count in Counter(repr(question.get("id")) for question in _questions(cut)).items():
            found.expect(count == 1, "questions", f"{count} have the id {name}", "ids that differ")
    return found.problems


class _Found:
    """The problems of one cut."""

    def __init__(self, where: str):
        self.where = where
        self.problems: list[Problem] = []

    def expect(self, kept: bool, field: str, value: object, limit: str) -> bool:
        if not kept:
            self.problems.append(Problem(self.where, field, shown(value), limit))
        return kept


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and _ID.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _questions(cut: MonoCut) -> list[dict]:
    questions = cut.custom.get("questions") if isinstance(cut.custom, dict) else None
    return [q for q in questions if isinstance(q, dict)] if isinstance(questions, list) else []


def _validate_recording(cut: MonoCut, sources: Collection[str], found: _Found) -> float:
    """Check the recording and how the cut covers it; returns the recording's end in seconds."""
    recording = cut.recording
    if not found.expect(recording is not None, "recording", None, "a recording"):
        return math.inf
    for i, source in enumerate(recording.sources):
        if refused := refuse_source(source, sources):
            field, value, limit = refused
            found.expect(False, f"recording.sources[{i}].{field}", value, limit)
    found.expect(recording.id == cut.id, "recording.id", recording.id, f"the cut's id {shown(cut.id)}")
    rate, samples, length = recording.sampling_rate, recording.num_samples, recording.duration
    good = found.expect(_is_number(rate) and rate > 0, "recording.sampling_rate", rate, "above 0")
    good &= found.expect(_is_number(samples) and samples > 0, "recording.num_samples", samples, "above 0")
    if not found.expect(_is_number(length) and length > 0, "recording.duration", length, "above 0"):
        return math.inf
    if good:
        matches = abs(samples / rate - length) <= TOLERANCE
        found.expect(matches, "recording.duration", length, f"num_samples / sampling_rate = {samples / rate:.3f}")
    found.expect(_is_number(cut.start) and cut.start == 0, "start", cut.start, "0: a cut holds its whole recording")
    whole = _is_number(cut.duration) and abs(cut.duration - length) <= TOLERANCE
    found.expect(whole, "duration", cut.duration, f"{length:.3f}: a cut holds its whole recording")
    return float(length)


def _validate_span(field: str, start: Any, duration: Any, end: float, found: _Found) -> None:
    if not found.expect(_is_number(start) and start >= 0, f"{field}.start", start, "0 or more"):
        return
    if found.expect(_is_number(duration) and duration > 0, f"{field}.duration", duration, "above 0"):
        inside = start + duration <= end + TOLERANCE
        found.expect(inside, field, f"ends at {start + duration:.3f}", f"at most {end:.3f}, the recording's end")


def _validate_supervisions(cut: MonoCut, end: float, found: _Found) -> None:
    seen: set[str] = set()
    for i, supervision in enumerate(cut.supervisions):
        field = f"supervisions[{i}]"
        good = _is_text(supervision.id) and supervision.id not in seen
        if found.expect(good, f"{field}.id", supervision.id, "a non-empty id that no other supervision has"):
            seen.add(supervision.id)
        for name in _SPOKEN:
            value = getattr(supervision, name)
            found.expect(isinstance(value, str | None), f"{field}.{name}", value, "a text, or null")
        owner = supervision.recording_id
        found.expect(owner == cut.id, f"{field}.recording_id", owner, f"the cut's id {shown(cut.id)}")
        _validate_span(field, supervision.start, supervision.duration, end, found)
        for j, word in enumerate((supervision.alignment or {}).get("word", [])):
            name = f"{field}.alignment.word[{j}]"
            inside = _is_number(word.start) and _is_number(word.duration) and word.start >= 0 <= word.duration
            inside = inside and word.start + word.duration <= end + TOLERANCE
            found.expect(inside, name, list(word), f"a word inside the recording, 0 to {end:.3f}")


def _validate_question(field: str, question: dict, cut_id: object, end: float, found: _Found) -> None:
    name = question.get("id")
    good = isinstance(name, str) and re.fullmatch(re.escape(str(cut_id)) + r"-q[0-9]+", name) is not None
    found.expect(good, f"{field}.id", name, f"{shown(cut_id)}-q<number>")
    text = question.get("question")
    found.expect(_is_text(text), f"{field}.question", text, "a non-empty text")
    choices: Any = question.get("choices")
    if not choices and "answers" in question:
        _validate_answers(field, question, found)
    else:
        _validate_choices(field, question, choices, found)
    for kind in ("evidence", "distractors"):
        spans = question.get(kind)
        if spans is None:
            continue
        good = isinstance(spans, list) and len(spans) > 0 and all(isinstance(span, dict) for span in spans)
        if found.expect(good, f"{field}.{kind}", spans, "null, or a list of {start, duration}"):
            for j, span in enumerate(spans):
                _validate_span(f"{field}.{kind}[{j}]", span.get("start"), span.get("duration"), end, found)


def _validate_choices(field: str, question: dict, choices: Any, found: _Found) -> None:
    size = len(choices) if isinstance(choices, list) else 0
    if found.expect(2 <= size <= len(LETTERS), f"{field}.choices", choices, f"a list of 2 to {len(LETTERS)} texts"):
        for j, choice in enumerate(choices):
            found.expect(_is_text(choice), f"{field}.choices[{j}]", choice, "a non-empty text")
        distinct = len({c.strip() if isinstance(c, str) else repr(c) for c in choices}) == size
        found.expect(distinct, f"{field}.choices", choices, "choices that differ")
        answer = question.get("answer")
        good = isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < size
        found.expect(good, f"{field}.answer", answer, f"an index below {size}")


def _validate_answers(field: str, question: dict, found: _Found) -> None:
    """Of a question without choices."""
    answers, answer = question["answers"], question.get("answer")
    if found.expect(isinstance(answers, list) and len(answers) > 0, f"{field}.answers", answers, "a list of texts"):
        for j, text in enumerate(answers):
            found.expect(_is_text(text), f"{field}.answers[{j}]", text, "a non-empty text")
    found.expect(answer is None, f"{field}.answer", answer, "null: there are no choices that it could point at")
