"""Dialogues written by templates: facts in small talk, and questions with near-miss distractors in the same recording.

Facts come in threes: the same noun for another person, another noun for the same person. The words stand in
``dialogues.yaml``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from speechprune.common.reading import read_yaml

SPEAKERS = {"lecture": (1, 1), "conversation": (2, 2), "meeting": (3, 5)}  # fewest and most, by scenario
Allowed = Callable[[str, str, str, str], bool]


@dataclass(frozen=True)
class Fact:
    """Something that is said once. ``others``: wrong choices, two of them said about something similar."""

    kind: str
    statement: str
    question: str
    keywords: tuple[str, str]  # noun and person
    value: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """A sentence: the number of its speaker, its text, and the number of the fact it states, if it does."""

    speaker: int
    text: str
    fact: int | None


@dataclass(frozen=True)
class Question:
    """``fact``: number of the fact asked for; ``distractors``: numbers of the others of its kind."""

    text: str
    choices: list[str]
    answer: int
    fact: int
    distractors: list[int]


@dataclass(frozen=True)
class Dialogue:
    facts: list[Fact]
    turns: list[Turn]


@cache
def words() -> dict:
    """The content of ``dialogues.yaml``, lists split."""
    table = read_yaml(Path(__file__).with_name("dialogues.yaml"))
    table["persons"] = table["persons"].split()
    for kind in table["kinds"].values():
        kind["nouns"], kind["values"] = kind["nouns"].split(), kind["values"].split()
    return table


def write_dialogue(
    rng: random.Random, scenario: str, seconds: float, speakers: int, clusters: int, allowed: Allowed
) -> Dialogue:
    """Facts, and small talk around them until the whole takes about ``seconds``.

    Args:
        rng: decides; the same state gives the same dialogue.
        scenario: of ``SPEAKERS``.
        speakers: how many take turns.
        clusters: threes of facts, each of another kind.
        allowed: whether the fact (kind, noun, person, value) may be stated.
    """
    facts = _facts(rng, clusters, allowed)
    sentences: list[tuple[str, int | None]]
    sentences = [(hesitate(rng, fact.statement, 0.05), i) for i, fact in enumerate(facts)]
    taken = sum(map(estimate_seconds, (text for text, _ in sentences)))
    while taken < seconds:
        sentences.append((_small_talk(rng, scenario), None))
        taken += estimate_seconds(sentences[-1][0])
    rng.shuffle(sentences)
    turns, speaker = [], rng.randrange(speakers)
    for text, fact in sentences:
        if rng.random() < 0.5:
            speaker = (speaker + rng.randint(1, max(1, speakers - 1))) % speakers
        turns.append(Turn(speaker, text, fact))
    return Dialogue(facts, turns)


def ask(rng: random.Random, dialogue: Dialogue, count: int, place: Callable[[int], int]) -> list[Question]:
    """Questions about ``count`` facts, four choices each; the k-th has its answer at ``place(k)``."""
    facts, questions = dialogue.facts, []
    for k, i in enumerate(rng.sample(range(len(facts)), count)):
        fact, answer = facts[i], place(k)
        choices = rng.sample(fact.others, 3)
        choices.insert(answer, fact.value)
        distractors = [j for j, other in enumerate(facts) if other.kind == fact.kind and j != i]
        questions.append(Question(fact.question, choices, answer, i, distractors))
    return questions


def estimate_seconds(sentence: str) -> float:
    """Rough seconds of speech with the pause that follows it."""
    return 0.25 + 0.062 * len(sentence) + 0.15 * sentence.count(",")


def _facts(rng: random.Random, clusters: int, allowed: Allowed) -> list[Fact]:
    """Clusters of three facts that differ from one another in the noun or in the person."""
    facts: list[Fact] = []
    for kind in rng.sample(sorted(words()["kinds"]), clusters):
        table = words()["kinds"][kind]
        while True:
            n1, n2 = rng.sample(table["nouns"], 2)
            p1, p2 = rng.sample(words()["persons"], 2)
            values: list[str] = []
            for noun, person in ((n1, p1), (n1, p2), (n2, p1)):
                free = [v for v in table["values"] if allowed(kind, noun, person, v) and v not in values]
                values += rng.sample(free, min(1, len(free)))
            if len(values) == 3:
                break
        unused = rng.choice([v for v in table["values"] if v not in values])
        for (noun, person), value in zip(((n1, p1), (n1, p2), (n2, p1)), values, strict=True):
            statement = rng.choice(table["statements"]).format(noun=noun, person=person, value=value)
            question = rng.choice(table["questions"]).format(noun=noun, person=person)
            others = tuple(v for v in (*values, unused) if v != value)
            facts.append(Fact(kind, statement, question, (noun, person), value, others))
    return facts


def hesitate(rng: random.Random, sentence: str, probability: float) -> str:
    """Insert "um," and the like between words."""
    out: list[str] = []
    for word in sentence.split():
        if out and rng.random() < probability:
            out[-1] = out[-1].rstrip(",") + ","
            out.append(rng.choice(["um,", "uh,", "oh,"]))
        out.append(word)
    return " ".join(out)


def _small_talk(rng: random.Random, scenario: str) -> str:
    kinds = words()["kinds"]
    noun, value = (rng.choice([x for k in kinds.values() for x in k[key]]) for key in ("nouns", "values"))
    template = rng.choice(words()["fillers"]["any"] + words()["fillers"][scenario])
    sentence = template.format(noun=noun, value=value, person=rng.choice(words()["persons"]))
    if rng.random() < 0.2:
        first, rest = sentence.split(" ", 1)
        keeps_capital = first.strip(",") in ("I", *words()["persons"])
        hesitation = rng.choice(words()["hesitations"]).capitalize()
        sentence = f"{hesitation}, {first if keeps_capital else first.lower()} {rest}"
    return hesitate(rng, sentence, 0.02)
