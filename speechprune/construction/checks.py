"""What a draft has to keep, sample by sample; and samples that say much the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rapidfuzz import fuzz, process, utils

from speechprune.construction.drafts import Draft, stands_in, words
from speechprune.construction.plan import CHOICES, Brief
from speechprune.data.choices import split_choices
from speechprune.data.shortcuts import longest_choices
from speechprune.prompts import LETTERS

TOLERANCE = 0.25  # share of the words aimed at by which a transcript may be shorter or longer
NEAR = 90.0  # similarity of two texts, 0 to 100, from which they count as one
_SPREAD = (1.6, 6)  # the longest choice has at most that many times the characters of the shortest, and that many more
_UNSPOKEN = "[]{}<>*#_|"  # characters of stage directions and markup, which an engine would read out


def faults(draft: Draft, brief: Brief) -> list[str]:
    """What is wrong with a draft, in sentences that its writer can act on; empty where nothing is."""
    return [*_turn_faults(draft, brief), *_key_faults(draft), *_choice_faults(draft, brief)]


def _turn_faults(draft: Draft, brief: Brief) -> list[str]:
    found = []
    if (speakers := {turn.speaker for turn in draft.turns}) != set(brief.speakers):
        found.append(f"the speakers are {_names(speakers)}; expected each of {_names(brief.speakers)}")
    for sentence in draft.sentences:
        if not words(sentence) or not sentence.isprintable() or set(sentence) & set(_UNSPOKEN):
            found.append(f"{sentence!r} is not a sentence to be spoken: words on one line, no markup or directions")
    count = len(draft.transcript.split())
    if abs(count - brief.words) > TOLERANCE * brief.words:
        least, most = (round(brief.words * (1 + sign * TOLERANCE)) for sign in (-1, 1))
        found.append(f"the transcript has {count} words; expected {least} to {most}")
    return found


def _key_faults(draft: Draft) -> list[str]:
    found = []
    times = sum(_squeezed(sentence) == _squeezed(draft.key_sentence) for sentence in draft.sentences)
    if times != 1:
        found.append(f"the key sentence stands {times} times among the sentences of the turns; expected once, verbatim")
    if not stands_in(draft.answer, draft.key_sentence):
        found.append(f"the answer {draft.answer!r} does not stand in the key sentence; expected its very words")
    for other in draft.distractors:
        if stands_in(other.text, draft.key_sentence):
            found.append(f"the wrong choice {other.text!r} stands in the key sentence, which would make it right")
    if any(stands_in(draft.answer, s) for s in draft.sentences if _squeezed(s) != _squeezed(draft.key_sentence)):
        found.append(f"the answer {draft.answer!r} is said outside of the key sentence, too; expected there alone")
    return found


def _choice_faults(draft: Draft, brief: Brief) -> list[str]:
    found = []
    choices = draft.choices
    if len(choices) != CHOICES:
        return [f"there are {len(choices) - 1} wrong choices; expected {CHOICES - 1}"]
    if not draft.question.strip().endswith("?") or not draft.question.isprintable():
        found.append(f"the question {draft.question!r} is not one line that ends in a question mark")
    for k, choice in enumerate(choices):
        if not words(choice) or not choice.isprintable():
            found.append(f"the choice {choice!r} has no words, or more than one line")
        elif any(stands_in(choice, other) for j, other in enumerate(choices) if j != k):
            found.append(f"the choice {choice!r} stands in another choice; expected choices that exclude one another")
        elif stands_in(choice, draft.question):
            found.append(f"the choice {choice!r} stands in the question")
    if not _told_apart(choices):
        found.append("the choices have letters or full stops of their own; expected them without")
    sizes = [len(choice.strip()) for choice in choices]
    if max(sizes) > _SPREAD[0] * min(sizes) + _SPREAD[1]:
        found.append(f"the choices have {min(sizes)} to {max(sizes)} characters; expected similar lengths")
    longest = longest_choices(choices)
    if len(longest) != 1 or (longest == [0]) != brief.longest:
        wanted = "the answer" if brief.longest else "a wrong one"
        names = " and ".join(repr(choices[k]) for k in longest)
        found.append(f"of the choices {names} is the longest; expected {wanted} to be longer than all others")
    for other in draft.distractors:
        if other.spoken != stands_in(other.text, draft.transcript):
            said = "is not said" if other.spoken else "is said"
            found.append(f"the wrong choice {other.text!r} {said} in the turns, against its own 'spoken'")
    if (spoken := sum(other.spoken for other in draft.distractors)) < brief.spoken:
        found.append(f"{spoken} wrong choices are said in the turns; expected {brief.spoken}")
    return found


def _told_apart(choices: Sequence[str]) -> bool:
    """Whether choices have no letters yet, and a list of them with letters, as SPIRAL has it, is read back as these."""
    if any(re.match(r"\(?[A-J][.):]\s", choice) for choice in choices):
        return False
    lettered = [f"{letter}. {choice.strip()}" for letter, choice in zip(LETTERS, choices, strict=False)]
    try:
        return split_choices("\n".join(lettered)) == ("", [choice.strip() for choice in choices])
    except ValueError:
        return False


def near_duplicates(texts: Sequence[str]) -> dict[int, int]:
    """{index: the earlier index that it is much like}, of those that are near another that stays.

    Likeness is rapidfuzz's ``ratio``: 100 minus the normalised insertions and deletions between the two texts.
    """
    found: dict[int, int] = {}
    kept: dict[int, str] = {}
    for k, text in enumerate(map(utils.default_process, texts)):
        match = process.extractOne(text, kept, scorer=fuzz.ratio, processor=None, score_cutoff=NEAR)
        if match is None:
            kept[k] = text
        else:
            found[k] = match[2]
    return found


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _names(speakers: Iterable[str]) -> str:
    return ", ".join(sorted(speakers)) or "none"
