"""Stage 2 of building: which of the written samples are good, their choices in order, and what they give away."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from speechprune.common.files import Problem, atomic_write, json_line, read_jsonl
from speechprune.construction.chat import Chat
from speechprune.construction.checks import faults, near_duplicates
from speechprune.construction.drafts import NAME, Written, read_drafts
from speechprune.construction.plan import CHOICES
from speechprune.construction.prompt_files import BLIND, Prompts
from speechprune.data.shortcuts import Shortcut, TextQuestion, overlapping_choices, shortcuts
from speechprune.prompts import LETTERS

log = logging.getLogger(__name__)

CHECKED, LEFT_OUT = "checked.jsonl", "left_out.jsonl"


@dataclass(frozen=True)
class Sample:
    """One that is good, ready to be spoken.

    Attributes:
        id, split, scenario, topic, subtopic, speakers: as in the brief.
        sentences: (speaker, text) each, in order.
        key: number of the key sentence.
        question, choices, answer: choices in their final order; answer is an index.
        writer: who wrote it.
    """

    id: str
    split: str
    scenario: str
    topic: str
    subtopic: str
    speakers: dict[str, str]
    sentences: list[tuple[str, str]]
    key: int
    question: str
    choices: list[str]
    answer: int
    writer: dict[str, str]

    def as_text(self) -> TextQuestion:
        transcript = " ".join(text for _, text in self.sentences)
        return TextQuestion(self.question, tuple(self.choices), self.answer, transcript)


class _Guess(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    answer: Literal["A", "B", "C", "D", "unknown"]


def check_samples(
    folder: Path,
    seed: int,
    allow_skew: bool,
    balance: bool = False,
    answerable: Callable[[Sequence[Sample]], dict[str, str]] | None = None,
) -> tuple[list[Sample], dict[str, str]]:
    """Write the good ones of ``samples.jsonl`` to ``checked.jsonl``, the others' reasons to ``left_out.jsonl``.

    Right choices get letters so that, within a split, each four in a row use every letter once.

    Args:
        folder: of the build.
        seed: of the order of the choices.
        allow_skew: go on where something beats chance without listening.
        balance: leave out what counting words finds beyond one in four of a split.
        answerable: given samples, tells {id: reason} of those that can be answered without the recording.
    Returns:
        the good ones, and {id: reason} of the others.
    Raises:
        ValueError: not one good sample; or a constant letter, the longest choice or counting words beats chance beyond
            its 95 % interval.
    """
    problems: list[Problem] = []
    rows = read_drafts(folder, problems)
    left = {problem.where: str(problem) for problem in problems}
    left |= {row.brief.id: "; ".join(wrong) for row in rows if (wrong := faults(row.draft, row.brief))}
    rows = [row for row in rows if row.brief.id not in left]
    same = near_duplicates([f"{row.draft.transcript} {row.draft.question}" for row in rows])
    left |= {rows[k].brief.id: f"much the same as {rows[j].brief.id}" for k, j in same.items()}
    samples = _in_order([row for row in rows if row.brief.id not in left], seed)
    if answerable is not None:
        left |= answerable(samples)
    if balance:
        left |= _found_by_words([sample for sample in samples if sample.id not in left])
    samples = _in_order([row for row in rows if row.brief.id not in left], seed)
    (folder / CHECKED).unlink(missing_ok=True)  # that of an earlier call
    with atomic_write(folder / LEFT_OUT, "wb") as file:
        file.writelines(json_line({"id": name, "reason": reason}) for name, reason in left.items())
    for name, reason in left.items():
        log.warning("left out: %s: %s", name, reason)
    if not samples:
        raise ValueError(f"{folder / NAME}: not one good sample of {len(left)}; {folder / LEFT_OUT} has the reasons")
    _refuse_skew(samples, allow_skew)
    with atomic_write(folder / CHECKED, "wb") as file:
        file.writelines(json_line(vars(sample)) for sample in samples)
    return samples, left


def _found_by_words(samples: Sequence[Sample]) -> dict[str, str]:
    """{id: reason} of the last samples of each split that counting words answers, so that it answers one in four."""
    surplus: dict[str, str] = {}
    for split in dict.fromkeys(sample.split for sample in samples):
        texts = {sample.id: sample.as_text() for sample in samples if sample.split == split}
        found = [n for n, t in texts.items() if t.answer in overlapping_choices(t.question, t.choices, t.transcript)]
        kept = (len(texts) - len(found)) // (CHOICES - 1)
        surplus |= dict.fromkeys(found[kept:], "counting words finds the answer, as in too many others")
    return surplus


def read_samples(folder: Path) -> list[Sample]:
    """What ``check_samples`` found good.

    Raises:
        FileNotFoundError: it has not run. ValueError: a line that it does not write.
    """
    path, problems, found = folder / CHECKED, list[Problem](), list[Sample]()
    again = f"check the samples again: speechprune check {folder}"
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}; {again}")
    try:
        for row in read_jsonl(path, problems):
            found.append(Sample(**row | {"sentences": [(speaker, text) for speaker, text in row["sentences"]]}))
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not of this version ({error}); {again}") from error
    if problems or not found:
        raise ValueError(f"{problems[0] if problems else f'{path} is empty'}; {again}")
    return found


def find_answerable(samples: Sequence[Sample], chat: Chat, prompts: Prompts) -> dict[str, str]:
    """{id: reason} of the samples that a model answers rightly without the recording, when it may say "unknown".

    Raises:
        EndpointError, Stopped: it cannot be asked; what was asked so far is kept.
    """

    def ask(sample: Sample) -> str | None:
        lettered = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, sample.choices, strict=False))
        schema = _Guess.model_json_schema()
        text = prompts.fill(BLIND, question=sample.question, choices=lettered, schema=json.dumps(schema))
        try:
            reply = chat.ask(f"{sample.id}/blind", [{"role": "user", "content": text}], schema)
            guess = _Guess.model_validate_json(reply).answer
        except ValueError as error:
            log.warning("%s: not known whether it can be answered without the recording: %s", sample.id, error)
            return None
        return f"answered without the recording by {chat.options.model}" if guess == LETTERS[sample.answer] else None

    with ThreadPoolExecutor(chat.options.concurrent) as pool:
        reasons = pool.map(ask, samples)
        return {sample.id: reason for sample, reason in zip(samples, reasons, strict=True) if reason is not None}


def _in_order(rows: Sequence[Written], seed: int) -> list[Sample]:
    counts: dict[str, int] = {}
    found = []
    for row in rows:
        number = counts.setdefault(row.brief.split, 0)
        counts[row.brief.split] += 1
        found.append(_sample(row, _letter(row.brief.split, number, seed), seed))
    return found


def _letter(split: str, number: int, seed: int) -> int:
    """Of the answer to the number-th question of a split: every four in a row use each letter once."""
    rng = random.Random(f"{seed}/{split}/letters/{number // CHOICES}")
    return rng.sample(range(CHOICES), CHOICES)[number % CHOICES]


def _sample(row: Written, answer: int, seed: int) -> Sample:
    brief, draft = row.brief, row.draft
    sentences = [(turn.speaker, " ".join(text.split())) for turn in draft.turns for text in turn.sentences]
    choices = [" ".join(other.text.split()) for other in draft.distractors]
    random.Random(f"{seed}/{brief.id}/choices").shuffle(choices)
    choices.insert(answer, " ".join(draft.answer.split()))
    return Sample(
        brief.id,
        brief.split,
        brief.scenario,
        brief.topic,
        brief.subtopic,
        brief.speakers,
        sentences,
        [text for _, text in sentences].index(" ".join(draft.key_sentence.split())),
        draft.question.strip(),
        choices,
        answer,
        row.writer,
    )


def giveaways(samples: Sequence[Sample]) -> dict[str, list[Shortcut]]:
    """{split: what finds its answers without listening}."""
    splits = dict.fromkeys(sample.split for sample in samples)
    return {name: shortcuts(s.as_text() for s in samples if s.split == name) for name in splits}


def _refuse_skew(samples: Sequence[Sample], allow_skew: bool) -> None:
    found = giveaways(samples)
    for split, entries in found.items():
        for entry in entries:
            log.info("%s: %s", split, entry)
    above = [f"{split}: {entry}" for split, entries in found.items() for entry in entries if entry.beats_chance]
    if above and not allow_skew:
        reasons = "\n  ".join(above)
        raise ValueError(
            f"the benchmark can be answered without listening:\n  {reasons}\n"
            "Write other samples (another --seed, other prompts), leave out what counting words finds (--balance), "
            "or take it as it is: --allow-skew"
        )
