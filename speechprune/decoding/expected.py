"""``expected.json``: what decode writes down when it starts: which folders of rows there will be, and about what.

``progress``, ``score`` and ``report`` go by it. It holds, for each configuration that decode was started with, its
folders and whether their questions are asked in rotation; and the questions of the dump with their versions, as decode
found them. Where the dump has changed since, it is read again. Neither torch nor Lhotse is needed here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from speechprune.common.files import atomic_write
from speechprune.common.reading import read_json
from speechprune.decoding.rows import questions_of
from speechprune.decoding.versions import Question
from speechprune.features.lines import custom_of, dump_state, latest_cuts, recording_names

NAME = "expected.json"
_FORMAT = 1
_AGAIN = "run stage 3 (decode), which writes it when it starts and answers only what is missing"
Folders = dict[str, dict[str, str]]  # {folder: {"permute": .., "mode": ..}}


@dataclass
class Expected:
    """The content of ``expected.json``.

    Attributes:
        dump: the dump's folder, seen from the file's.
        state: of the dump when it was read, see ``dump_state``.
        configurations: {identity of a configuration: its folders}.
        questions: {id: question} of the dump.
    """

    dump: str
    state: dict[str, list[int]]
    configurations: dict[str, Folders] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)


def identity(table: object, settings: dict[str, str] | None = None) -> str:
    """12 hexadecimal digits of a configuration's content and of what the command line sets for all of its systems.

    ``batch_tokens`` is no part: it changes no row.
    """
    asked = {key: value for key, value in table.items() if key != "batch_tokens"} if isinstance(table, dict) else table
    text = json.dumps([_ordered(asked), _ordered(settings or {})], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _ordered(value: Any) -> Any:
    """Mappings as pairs in the order of their keys, which YAML allows to be of any kind."""
    if isinstance(value, dict):
        return sorted(([repr(key), _ordered(one)] for key, one in value.items()), key=lambda pair: pair[0])
    return [_ordered(one) for one in value] if isinstance(value, list) else value


# The questions of a dump


def dump_questions(dump: str | Path) -> dict[str, Question]:
    """{id: question} of the recordings that belong to a dump and that it has.

    Raises:
        FileNotFoundError: no dump there.
        ValueError: ``recordings.json`` is damaged.
    """
    dump = Path(dump)
    listed = set(recording_names(dump))
    found = latest_cuts(dump, cut_questions)
    return {question.id: question for name in sorted(found.keys() & listed) for question in found[name]}


def cut_questions(row: dict, samples: Mapping[str, str | None] = MappingProxyType({})) -> list[Question]:
    """The questions of a cut's JSON; ``samples``: {recording: hash of its samples} where the cut does not have it."""
    custom = custom_of(row)
    audio_hash = custom.get("audio_hash") or samples.get(row["id"])
    return [Question.of(row["id"], question, audio_hash) for question in questions_of(row["id"], custom)]


# The file


def expect(exp: Path, dump: Path, configuration: str, folders: Folders) -> dict[str, Question]:
    """Write down that rows are expected in ``folders`` of ``exp``; returns the questions of the dump.

    Jobs that start together write the same; other configurations stay, but for those that ask in the same folder in
    another way.
    """
    state = dump_state(dump)  # before the dump is read: what is added meanwhile is then seen as a change
    exp.mkdir(parents=True, exist_ok=True)
    with _locked(exp):
        try:
            before = _read(exp)
        except (FileNotFoundError, ValueError):
            before = Expected("", {})
        questions = before.questions if before.state == state else dump_questions(dump)
        kept = {
            name: theirs
            for name, theirs in before.configurations.items()
            if all(folders.get(folder, setting) == setting for folder, setting in theirs.items())
        }
        where = os.path.relpath(dump.resolve(), exp.resolve())
        document = {
            "format": _FORMAT,
            "dump": where,
            "state": state,
            "configurations": kept | {configuration: folders},
            "questions": [astuple(question) for question in questions.values()],
        }
        with atomic_write(exp / NAME) as file:
            json.dump(document, file)
    return questions


def read_expected(exp: str | Path, dump: str | Path | None = None) -> Expected:
    """What decode wrote into ``exp``, its questions as the dump has them now.

    Args:
        exp: exp/<model>/<set>.
        dump: its dump; by default the one that decode read, if it still stands where it stood.
    Raises:
        FileNotFoundError: decode has not written it, or there is no such dump.
        ValueError: it is damaged.
    """
    found = _read(Path(exp))
    here = Path(dump) if dump is not None else Path(exp).resolve() / found.dump
    if dump is None and not (here / "recordings.json").is_file():
        return found
    if dump_state(here) != found.state:
        found.questions = dump_questions(here)
    return found


def _read(exp: Path) -> Expected:
    path = exp / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: nothing, or an earlier version, has decoded here; {_AGAIN}")
    way_out = f"remove it and {_AGAIN}"
    document = read_json(path, dict, way_out)
    try:
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']!r}, expected {_FORMAT}")
        questions = [_question(*values) for values in document["questions"]]
        folders = {
            str(name): {str(folder): {key: str(s[key]) for key in ("permute", "mode")} for folder, s in theirs.items()}
            for name, theirs in document["configurations"].items()
        }
        return Expected(str(document["dump"]), document["state"], folders, {q.id: q for q in questions})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {way_out}") from error


def _question(
    name: str, recording: str, rotations: int, answer: int | None, version: str, audio_hash: str | None
) -> Question:
    good = all(isinstance(text, str) for text in (name, recording, version)) and isinstance(audio_hash, str | None)
    if not good or type(rotations) is not int or not (answer is None or type(answer) is int):
        raise ValueError(f"question {name!r} has another form")
    if not 1 <= rotations <= 10 or (answer is not None and not 0 <= answer < rotations):
        raise ValueError(f"question {name!r} has {rotations} rotations and answer {answer}")
    return Question(name, recording, rotations, answer, version, audio_hash)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One job after the other: what one writes must not be lost by what another has read before."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
