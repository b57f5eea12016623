"""Answering without listening: by a constant letter, the longest choice, or by counting words.

A corpus is worth what a model scores above these.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speechprune.common.intervals import wilson
from speechprune.prompts import LETTERS

if TYPE_CHECKING:
    from lhotse import MonoCut


@dataclass(frozen=True)
class TextQuestion:
    """A question as it can be read.

    Attributes:
        question, choices, answer: as in the cut; answer is an index, -1 of an open-ended question, without choices.
        transcript: the recording's sentences, joined in time order; empty where it is not known.
    """

    question: str
    choices: tuple[str, ...]
    answer: int
    transcript: str


def text_question(cut: MonoCut, question: dict) -> TextQuestion:
    """One of the cut's questions, with the cut's transcript."""
    sentences = sorted(cut.supervisions, key=lambda sentence: sentence.start)
    transcript = " ".join(sentence.text or "" for sentence in sentences)
    choices, answer = tuple(question.get("choices") or ()), question.get("answer")
    return TextQuestion(question["question"], choices, -1 if answer is None else answer, transcript)


@dataclass(frozen=True)
class Shortcut:
    """A way to answer without listening: accuracy over n questions, 95 % Wilson interval; ``chance``: a guess's."""

    name: str
    n: int
    accuracy: float
    ci95: tuple[float, float]
    chance: float

    @property
    def beats_chance(self) -> bool:
        return self.ci95[0] > self.chance

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.ci95)
        verdict = "above" if self.beats_chance else "no better than"
        shown = f"{self.name}: {100 * self.accuracy:.2f} % [{low:.2f}, {high:.2f}] of {self.n}"
        return f"{shown}, {verdict} chance, {100 * self.chance:.2f} %"


def shortcuts(questions: Iterable[TextQuestion]) -> list[Shortcut]:
    """What the best constant letter, the longest choice and counting words score; empty without questions."""
    questions = list(questions)
    found: list[Shortcut] = []
    for name, scores in (letter_scores(questions) | text_scores(questions)).items():
        if scores:
            chance = sum(1 / len(question.choices) for question in questions) / len(questions)
            interval = wilson(math.fsum(scores), len(scores))
            found.append(Shortcut(name, len(scores), math.fsum(scores) / len(scores), interval, chance))
    return found


def letter_scores(questions: Sequence[TextQuestion]) -> dict[str, list[float]]:
    """{a title: scores} of the letter that answers most questions; ties go to the first."""
    counts = Counter(question.answer for question in questions)
    best = min(counts, key=lambda index: (-counts[index], index), default=0)
    return {f'Constant letter "{LETTERS[best]}"': [float(question.answer == best) for question in questions]}


def text_scores(questions: Iterable[TextQuestion]) -> dict[str, list[float]]:
    """{a title: the score of each question that it is about}; where several choices tie, their share of the answer."""
    questions = list(questions)
    longest = [(question, longest_choices(question.choices)) for question in questions]
    transcribed = [question for question in questions if question.transcript.strip()]
    return {
        "Longest choice, ties shared": [_share(question.answer, best) for question, best in longest],
        "Longest choice, where one is longest": [_share(q.answer, best) for q, best in longest if len(best) == 1],
        "Word overlap with the transcript": [
            _share(q.answer, overlapping_choices(q.question, q.choices, q.transcript)) for q in transcribed
        ],
    }


def _share(answer: int, best: Sequence[int]) -> float:
    return (answer in best) / len(best)


def longest_choices(choices: Sequence[str]) -> list[int]:
    """Indices of the choices with the most characters, one unless they tie."""
    sizes = [len(choice.strip()) for choice in choices]
    return [index for index, size in enumerate(sizes) if size == max(sizes)]


def overlapping_choices(question: str, choices: Sequence[str], transcript: str) -> list[int]:
    """Indices of the choices whose words, with the question's, match a stretch of the transcript best.

    The sliding window of MCTest (Richardson, Burges and Renshaw 2013, algorithm 1): for a choice, S is the set of its
    and the question's words; a window of |S| words of the transcript scores the sum over its words that are in S of
    log(1 + 1 / count), count being the word's number in the transcript; the best window counts.
    """
    words = _words(transcript)
    counts = Counter(words)
    weights = [math.log1p(1 / counts[word]) for word in words]
    scores = []
    for choice in choices:
        wanted = {*_words(question), *_words(choice)}
        gains = [weight if word in wanted else 0.0 for word, weight in zip(words, weights, strict=True)]
        size = len(wanted)
        windows = [math.fsum(gains[start : start + size]) for start in range(max(1, len(gains) - size + 1))]
        scores.append(round(max(windows), 9))  # sums in another order must still tie
    return [index for index, found in enumerate(scores) if found == max(scores)]


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.casefold())
