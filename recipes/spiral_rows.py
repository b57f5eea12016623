"""SPIRAL's format, a row a recording, as SPIRAL itself and benchmarks that are built like it have it.

::

    {"transcript": [{"speaker": "spk_1", "text": [..]}], "original_key_sentence": "..",
     "test_question": {"question": "..", "choices": ["A. ..", ..], "correct_answer": "B. .."},
     "metadata": {"id": "lecture_0", "transcript_type": "lecture", "main_topic": "..", "subtopic": ".."},
     "audio_data": {"key_sentences": {"speaker": "spk_1", "text": "..", "indices": [3, 4]},
                    "combined": {"audio_files": ["lecture_0.wav"], "prompts_used": {"spk_1": "../8051_F.wav"},
                                 "sentences": [..]}}}

``indices`` is half-open, of ``sentences``: what is spoken, sentence by sentence. The end of a prompt's name is the sex.
Rows of benchmarks that were built here also have ``engine``, ``duration``, ``times`` and ``words`` in ``combined``:
what spoke, the recording's seconds, [start, end] of each sentence, and [word, start, end] of its words if known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechprune.alignment import Sentence, Timed
from speechprune.common.files import Problem, shown
from speechprune.data.building import text_lines
from speechprune.data.choices import answer_index, split_choices


def read_rows(path: Path, problems: list[Problem]) -> Iterator[tuple[str, dict]]:
    """(``file:line``, row) of each line that has a metadata.id; others are reported."""
    for number, line in text_lines(path, problems):
        where = f"{path.name}:{number}"
        try:
            row = json.loads(line)
            name = row["metadata"]["id"]
            if not isinstance(name, str):
                raise TypeError(f"metadata.id is {name!r}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if line.strip():
                value = f"{type(error).__name__}: {error}"
                problems.append(Problem(where, "row", value, "a JSON object with metadata.id"))
        else:
            yield where, row


@dataclass(frozen=True)
class KnownTimes:
    """What a row tells of its synthesis: the engine, the recording's seconds, when each sentence is said."""

    engine: str
    duration: float
    timed: list[Timed]


@dataclass(frozen=True)
class Entry:
    """A row, taken apart. ``key``: the numbers of the key sentence's sentences."""

    name: str
    sentences: list[Sentence]
    key: range
    question: str
    choices: list[str]
    answer: int
    wav: str
    synthesis: KnownTimes | None


def parse_row(row: dict) -> Entry:
    """ValueError says what in the row is odd."""
    try:
        combined, key = row["audio_data"]["combined"], row["audio_data"]["key_sentences"]
        question, (wav,) = row["test_question"], combined["audio_files"]
        texts, (first, after) = combined["sentences"], key["indices"]
        turns = [(turn["speaker"], "".join(turn["text"])) for turn in row["transcript"]]
        genders = {speaker: _gender(prompt) for speaker, prompt in combined["prompts_used"].items()}
        sentences = [Sentence(t, s, genders.get(s)) for t, s in zip(texts, _speakers(texts, turns), strict=True)]
        _, choices = split_choices("\n".join(question["choices"]))
        if len(choices) != len(question["choices"]):
            raise ValueError(f"choices {shown(question['choices'])}: expected one letter each, in order")
        answer = answer_index(question["correct_answer"], choices)
        if not 0 <= first < after <= len(sentences):
            raise ValueError(f"indices {key['indices']} of the key sentence, expected a range in 0 to {len(sentences)}")
        said, wanted = _words(" ".join(texts[first:after])), _words(key["text"])
        if not wanted or len(said & wanted) < 0.6 * len(wanted):
            raise ValueError(f"sentences {first} to {after - 1} are not the key sentence {shown(key['text'])!r}")
        known = _known_times(combined, len(sentences)) if "times" in combined else None
        key_range = range(first, after)
        return Entry(row["metadata"]["id"], sentences, key_range, question["question"], choices, answer, wav, known)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the row is not as SPIRAL writes it: {type(error).__name__}: {error}") from error


def _known_times(combined: dict, count: int) -> KnownTimes:
    """ValueError where times are not of the sentences, or outside of the recording."""
    duration = float(combined["duration"])
    words = combined.get("words") or [[]] * count
    spans = [(float(start), float(end)) for start, end in combined["times"]]
    if not len(spans) == len(words) == count:
        raise ValueError(f"times of {len(spans)} sentences, words of {len(words)}; expected {count}")
    for start, end in spans:
        if not 0 <= start < end <= duration:
            raise ValueError(f"times {start} to {end} of a sentence; expected a span within 0 to {duration}")
    said = [tuple((str(text), float(a), float(b)) for text, a, b in those) for those in words]
    return KnownTimes(str(combined["engine"]), duration, [Timed(*s, w) for s, w in zip(spans, said, strict=True)])


def _gender(prompt: str) -> str | None:
    """The sex of the LibriTTS-R speaker whose voice was cloned: ``.../8051_F.wav``."""
    found = re.search(r"_([FM])\.wav$", prompt)
    return found[1] if found else None


def _speakers(sentences: Sequence[str], turns: Sequence[tuple[str, str]]) -> list[str]:
    """Who says each sentence: turns and sentences are the same text, cut in two ways."""
    owners = [speaker for speaker, text in turns for _ in _squeezed(text)]
    if "".join(map(_squeezed, sentences)) != "".join(_squeezed(text) for _, text in turns):
        raise ValueError("the sentences of combined differ from the transcript's")
    speakers, at = [], 0
    for sentence in sentences:
        if not _squeezed(sentence):
            raise ValueError("an empty sentence in combined")
        speakers.append(owners[at])
        at += len(_squeezed(sentence))
    return speakers


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
