"""Dialogues out of templates, offline: the words stand in ``scenes.yaml``.

Something is settled in the key sentence, and what was proposed before and dropped is said as well, in sentences of the
same words. So a model has to understand which is which: counting words finds the answer as often as guessing does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from speechprune.common.reading import read_yaml
from speechprune.construction.drafts import Distractor, Draft, DraftTurn, words
from speechprune.construction.grammar import hesitate
from speechprune.construction.plan import Brief
from speechprune.construction.writers.base import Writer
from speechprune.data.shortcuts import longest_choices, overlapping_choices

_DRAWS = 400  # drawn until one has the length of choices and the overlap that the brief asks for


@cache
def scenes() -> dict:
    """The content of ``scenes.yaml``, lists split."""
    table = read_yaml(Path(__file__).parents[1] / "scenes.yaml")
    table["who"] = table["who"].split()
    return table


class Templated(Writer):
    """Our own grammar."""

    name = "grammar"
    model = "templates of speechprune"
    licence = "Apache-2.0"

    def draft(self, brief: Brief, attempt: int, faults: Sequence[str] = ()) -> Draft:
        rng = random.Random(f"{brief.seed}/{attempt}")
        for _ in range(_DRAWS):
            draft = _draw(rng, brief)
            longest = longest_choices(draft.choices)
            overlap = overlapping_choices(draft.question, draft.choices, draft.transcript)
            if len(longest) == len(overlap) == 1 and (longest == [0], overlap == [0]) == (brief.longest, brief.overlap):
                return draft
        raise ValueError(f"none of {_DRAWS} drafts has longest={brief.longest} and overlap={brief.overlap}")


def _draw(rng: random.Random, brief: Brief) -> Draft:
    frame = scenes()["frames"][rng.choice(sorted(scenes()["frames"]))]
    values = rng.sample(frame["values"], 4)
    thing = rng.choice(frame["things"][brief.scenario])
    key = rng.choice(frame["settled"]).format(thing=thing, value=values[0])
    dropped = [
        template.format(thing=thing, value=value)
        for template, value in zip(rng.sample(frame["dropped"], brief.spoken), values[1:], strict=False)
    ]
    stretches = [[key], *([sentence] for sentence in dropped)]
    stretches += _small_talk(rng, brief, sum(len(words(s)) for s in (key, *dropped)))
    rng.shuffle(stretches)
    opening = rng.choice(scenes()["openings"][brief.scenario]).format(subtopic=brief.subtopic)
    return Draft(
        turns=_turns(rng, [[opening], *stretches], list(brief.speakers)),
        key_sentence=key,
        question=rng.choice(frame["questions"]).format(thing=thing),
        answer=values[0],
        distractors=[Distractor(text=value, spoken=k < brief.spoken) for k, value in enumerate(values[1:])],
    )


def _small_talk(rng: random.Random, brief: Brief, said: int) -> list[list[str]]:
    """Stretches of talk, a sentence for each of those who speak in it, until there are enough words."""
    table = scenes()
    pool = [[remark] for remark in table["remarks"]["any"] + table["remarks"][brief.scenario]]
    if len(brief.speakers) > 1:
        pool += table["replies"]
    found: list[list[str]] = []
    left: list[list[str]] = []
    while said < brief.words - 10:  # the opening has about ten
        left = left or rng.sample(pool, len(pool))
        stretch = [_fill(rng, sentence, brief.subtopic) for sentence in left.pop()]
        found.append(stretch)
        said += sum(len(words(sentence)) for sentence in stretch)
    return found


def _fill(rng: random.Random, template: str, subtopic: str) -> str:
    drawn = {slot: rng.choice(scenes()[slot]) for slot in ("who", "when", "trait")}
    return hesitate(rng, template.format(subtopic=subtopic, **drawn), 0.03)


def _turns(rng: random.Random, stretches: list[list[str]], speakers: list[str]) -> list[DraftTurn]:
    """Who says what: the sentences of a stretch by different speakers, and every speaker says something."""
    turns: list[DraftTurn] = []
    waiting = speakers[1:]  # have not spoken yet
    speaker = speakers[0]
    for number, stretch in enumerate(stretches):
        for place, sentence in enumerate(stretch):
            if place or (number and (waiting or rng.random() < 0.5)):
                speaker = waiting.pop(0) if waiting else rng.choice([s for s in speakers if s != speaker] or speakers)
            if turns and turns[-1].speaker == speaker:
                turns[-1].sentences.append(sentence)
            else:
                turns.append(DraftTurn(speaker=speaker, sentences=[sentence]))
    return turns
