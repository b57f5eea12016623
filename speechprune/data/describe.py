"""What is in a set of cuts: counts, durations, the answers' letters, where the evidence lies, who speaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lhotse import MonoCut

from speechprune.common.files import Problem, atomic_write
from speechprune.data.cuts import STAGE_FIELDS, validate_cut
from speechprune.data.shortcuts import TextQuestion, shortcuts, text_question
from speechprune.prompts import LETTERS

WINDOW = 30.0  # seconds that a model's ordinary input holds
PICTURES = (".png", ".pdf", ".svg")


@dataclass
class Description:
    """Counts of one set. Seconds throughout.

    Attributes:
        durations: of each recording.
        choices: {number of choices: questions}; 0 of those that are open-ended.
        letters: {letter: questions that it answers}.
        evidence: (start, end) of each evidence span, from the recording's start.
        positions: where in its recording the middle of each span lies, 0 to 1.
        methods: {how evidence was found: questions}.
        speakers, genders: {speaker: supervisions}, {sex: speakers}.
        voices: of a synthesiser.
        resynthesised: {engine: recordings that it spoke}.
        custom: {field: {value: recordings}} of the corpus' own facts with few values, such as scenario and hard.
        asked: each question as it can be read.
    """

    durations: list[float] = field(default_factory=list)
    choices: Counter = field(default_factory=Counter)
    letters: Counter = field(default_factory=Counter)
    evidence: list[tuple[float, float]] = field(default_factory=list)
    positions: list[float] = field(default_factory=list)
    methods: Counter = field(default_factory=Counter)
    speakers: Counter = field(default_factory=Counter)
    genders: Counter = field(default_factory=Counter)
    voices: set[str] = field(default_factory=set)
    resynthesised: Counter = field(default_factory=Counter)
    custom: dict[str, Counter] = field(default_factory=dict)
    asked: list[TextQuestion] = field(default_factory=list)

    @property
    def questions(self) -> int:
        return self.choices.total()

    def __str__(self) -> str:
        seconds = np.array(self.durations)
        quartiles = " / ".join(f"{v:.1f}" for v in np.percentile(seconds, [0, 25, 50, 75, 100]))
        lines = {
            "recordings": f"{len(seconds)}, {seconds.sum() / 3600:.2f} h",
            "seconds": f"mean {seconds.mean():.1f}; least, quartiles, most: {quartiles}",
            "longer": f"than {WINDOW:.0f} s: {(seconds > WINDOW).sum()}; than 60 s: {(seconds > 60).sum()}",
            "questions": f"{self.questions}; choices: {_counts(self.choices)}",
        }
        if self.letters:
            lines["answers"] = _counts(self.letters)
        if self.evidence:
            early = sum(end <= WINDOW for _, end in self.evidence) / len(self.evidence)
            middle = " / ".join(f"{v:.2f}" for v in np.percentile(self.positions, [25, 50, 75]))
            spans = "1 span" if len(self.evidence) == 1 else f"{len(self.evidence)} spans"
            lines["evidence"] = (
                f"{spans}, {100 * early:.1f} % end within {WINDOW:.0f} s; quartiles of their place in the recording: "
                f"{middle}; found by: {_counts(self.methods)}"
            )
        if self.speakers:
            lines["speakers"] = f"{len(self.speakers)}; sex: {_counts(self.genders)}"
        if self.resynthesised:
            spoken = f"by {_counts(self.resynthesised)} recordings, with {len(self.voices)} voices"
            lines["resynthesised"] = f"{spoken}; these are not the corpus' own recordings"
        lines |= {name: _counts(values) for name, values in self.custom.items()}
        width = max(map(len, lines))
        table = [f"{name:<{width}}  {text}" for name, text in lines.items()]
        if found := shortcuts(self.asked):
            table += ["What finds the answer without listening, with 95 % intervals:", *(f"  {s}" for s in found)]
        return "\n".join(table)


def describe_cuts(cuts: Iterable[MonoCut], problems: list[Problem]) -> Description:
    """Count a set, one cut at a time.

    Args:
        problems: gets what is wrong with cuts that break the contract; these are not counted. A set of text alone
            needs no recordings.
    Raises:
        ValueError: there is not one cut that keeps it.
    """
    found = Description()
    for cut in cuts:
        if broken := [problem for problem in validate_cut(cut) if problem.field != "recording"]:
            problems += broken
            continue
        custom = cut.custom
        found.durations.append(float(cut.duration))
        for question in custom.get("questions", []):
            found.choices[len(question.get("choices") or ())] += 1
            if question.get("choices"):
                found.letters[LETTERS[question["answer"]]] += 1
                found.asked.append(text_question(cut, question))
            spans = [(s["start"], s["start"] + s["duration"]) for s in question.get("evidence") or []]
            found.evidence += spans
            found.positions += [min(1.0, (a + b) / 2 / cut.duration) for a, b in spans]
            if spans:
                found.methods[str(question.get("evidence_method", "the corpus"))] += 1
        for name in {s.speaker: s for s in cut.supervisions if s.speaker}.values():
            if name.speaker not in found.speakers:
                found.genders[name.gender or "unknown"] += 1
        for supervision in cut.supervisions:
            if supervision.speaker:
                found.speakers[supervision.speaker] += 1
            if voice := (supervision.custom or {}).get("voice"):
                found.voices.add(str(voice))
        if engine := custom.get("resynthesised"):
            found.resynthesised[engine] += 1
        for name, value in custom.items():
            if isinstance(value, str | bool) and name not in ("resynthesised", *STAGE_FIELDS):
                found.custom.setdefault(name, Counter())[value] += 1
    if not found.durations:
        reason = f"; the first of {len(problems)} problems: {problems[0]}" if problems else ""
        raise ValueError(f"no cuts to describe{reason}")
    found.custom = {name: values for name, values in found.custom.items() if len(values) <= 20}
    return found


def check_picture(path: Path) -> None:
    """ValueError, naming the valid ones, where ``path`` has a suffix that ``draw`` does not write."""
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"picture {path}: {path.suffix or 'no suffix'!r}; choose from: {', '.join(PICTURES)}")


def draw(found: Description, path: Path, title: str) -> Path:
    """Draw durations and the evidence's places into ``path``, whose suffix is one of ``PICTURES``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.hist(found.durations, bins=min(40, max(5, len(found.durations) // 5)), color="#0072B2")
    left.axvline(WINDOW, color="#D55E00", linestyle="--", label=f"{WINDOW:.0f} s, a model's ordinary input")
    left.set(xlabel="duration, s", ylabel="recordings", title="Durations")
    left.yaxis.get_major_locator().set_params(integer=True)
    left.legend()
    if found.evidence:
        starts, ends = np.array(found.evidence).T
        lengths = (starts + ends) / 2 / np.maximum(found.positions, 1e-9)
        right.scatter((starts + ends) / 2, lengths, s=12, alpha=0.6, color="#009E73")
        right.plot([0, lengths.max()], [0, lengths.max()], color="0.6", linewidth=0.8)
        right.axvline(WINDOW, color="#D55E00", linestyle="--")
        right.set(xlabel="middle of the evidence, s", ylabel="duration of its recording, s")
    else:
        right.text(0.5, 0.5, "no evidence spans", ha="center", va="center", transform=right.transAxes)
    right.set_title("Where the evidence lies")
    figure.suptitle(title, parse_math=False)
    try:
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format=path.suffix.lstrip(".").lower(), dpi=150)
    finally:
        pyplot.close(figure)
    return path


def _counts(counts: Counter | dict) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts, key=_order))


def _order(name: object) -> tuple[bool, Sequence]:
    return isinstance(name, str), (name,)
