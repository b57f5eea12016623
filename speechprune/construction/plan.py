"""Stage 0 of building: who shall talk about what, how long, and what shall be true of the question; no words yet."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from speechprune.common.files import Problem, atomic_write, json_line, read_jsonl
from speechprune.construction.grammar import SPEAKERS
from speechprune.construction.topics import Topic

NAME = "plan.jsonl"
TEST = "test"
SPLITS = (TEST, "dev", "train")
# What the paper prints: 195 words in 87.89 s, on average.
WORDS_PER_SECOND = 195 / 87.89
CHOICES = 4


@dataclass(frozen=True)
class Brief:
    """What one sample shall be.

    Attributes:
        id: such as ``lecture_0``, as SPIRAL's.
        split: of ``SPLITS``; a topic belongs to one split.
        scenario, topic, subtopic: of the taxonomy.
        speakers: {name: "F" or "M"}.
        seconds: the recording's duration to aim at.
        spoken: how many of the three wrong choices are said in the recording, too; the others clearly are not.
        longest: whether the right choice shall be the longest one.
        overlap: whether counting words of question and choice in the transcript shall find the right choice.
        seed: of whatever is drawn for this sample.
    """

    id: str
    split: str
    scenario: str
    topic: str
    subtopic: str
    speakers: dict[str, str]
    seconds: float
    spoken: int
    longest: bool
    overlap: bool
    seed: str

    @property
    def words(self) -> int:
        """Words of the transcript to aim at."""
        return round(self.seconds * WORDS_PER_SECOND)


def make_plan(
    topics: Sequence[Topic],
    samples: int,
    seconds: tuple[float, float],
    splits: Mapping[str, float],
    seed: int,
) -> list[Brief]:
    """As many briefs as ``samples``, scenarios, topics and sexes in turn; the same arguments give the same plan.

    One right choice in four is the longest, and one in four is found by counting words: what guessing finds.

    Args:
        seconds: least and most of a recording's duration.
        splits: {name: share of the samples}; the shares sum to 1.
    Raises:
        ValueError: an unknown split, shares that do not sum to 1, fewer topics than splits in a scenario, ...
    """
    _check(samples, seconds, splits)
    rng = random.Random(f"plan/{seed}")
    parts = _split_topics(topics, splits, rng)
    scenarios = sorted({topic.scenario for topic in topics})
    numbers: dict[str, int] = defaultdict(int)
    briefs: list[Brief] = []
    for split, count in _counts(samples, splits).items():
        turns = {scenario: _subtopics(parts[split, scenario], rng) for scenario in scenarios}
        longest, overlap = (_quarters(count, rng) for _ in range(2))
        for k in range(count):
            scenario = scenarios[k % len(scenarios)]
            topic, subtopic = turns[scenario][k // len(scenarios) % len(turns[scenario])]
            name = f"{scenario}_{numbers[scenario]}"
            numbers[scenario] += 1
            briefs.append(
                Brief(
                    name,
                    split,
                    scenario,
                    topic,
                    subtopic,
                    _speakers(scenario, rng),
                    round(rng.uniform(*seconds), 1),
                    rng.choice((2, 3, 3)),
                    longest[k],
                    overlap[k],
                    f"{seed}/{name}",
                )
            )
    return briefs


def write_plan(folder: Path, briefs: Sequence[Brief]) -> Path:
    """``folder/plan.jsonl``."""
    with atomic_write(folder / NAME, "wb") as file:
        file.writelines(json_line(asdict(brief)) for brief in briefs)
    return folder / NAME


def read_plan(folder: Path) -> list[Brief]:
    """What ``write_plan`` wrote.

    Raises:
        FileNotFoundError: it did not. ValueError: a line that it does not write.
    """
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}; make it first: speechprune plan {folder}")
    problems: list[Problem] = []
    again = f"make it again: speechprune plan {folder}"
    try:
        briefs = [Brief(**row) for row in read_jsonl(path, problems)]
    except TypeError as error:
        raise ValueError(
            f"{path} is not of this version ({error}); make it again: speechprune plan {folder}"
        ) from error
    if problems or not briefs:
        raise ValueError(f"{problems[0] if problems else f'{path} is empty'}; {again}")
    return briefs


def _check(samples: int, seconds: tuple[float, float], splits: Mapping[str, float]) -> None:
    if samples < 1:
        raise ValueError(f"{samples} samples; expected at least 1")
    if not 10 <= seconds[0] <= seconds[1] <= 3600:
        raise ValueError(f"seconds {seconds[0]:g} to {seconds[1]:g}; expected least before most, within 10 to 3600")
    for name, share in splits.items():
        if name not in SPLITS or not 0 < share <= 1:
            raise ValueError(f"split {name}={share:g}; expected shares above 0 of: {', '.join(SPLITS)}")
    if abs(sum(splits.values()) - 1) > 1e-6:
        raise ValueError(f"the shares of {', '.join(splits)} sum to {sum(splits.values()):g}; expected 1")


def _counts(samples: int, splits: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers of samples by share; what rounding leaves goes to the first."""
    counts = {name: int(samples * share + 1e-9) for name, share in splits.items()}
    counts[next(iter(counts))] += samples - sum(counts.values())
    if empty := [name for name, count in counts.items() if not count]:
        raise ValueError(f"{samples} samples leave none for {', '.join(empty)}; ask for more, or for fewer splits")
    return counts


def _split_topics(
    topics: Sequence[Topic], splits: Mapping[str, float], rng: random.Random
) -> dict[tuple[str, str], list[Topic]]:
    """{(split, scenario): its topics}: each topic in one split, at least one a split, about as its share says."""
    parts: dict[tuple[str, str], list[Topic]] = {}
    for scenario in sorted({topic.scenario for topic in topics}):
        mine = [topic for topic in topics if topic.scenario == scenario]
        if len(mine) < len(splits):
            raise ValueError(
                f"{scenario} has {len(mine)} topics; {len(splits)} splits need one each, since they share none"
            )
        rng.shuffle(mine)
        names = list(splits)
        for k, name in enumerate(names):
            waiting = len(names) - k - 1  # each of them needs one
            size = len(mine) if not waiting else round(splits[name] / sum(splits[n] for n in names[k:]) * len(mine))
            size = min(max(1, size), len(mine) - waiting)
            parts[name, scenario], mine = mine[:size], mine[size:]
    return parts


def _subtopics(topics: Sequence[Topic], rng: random.Random) -> list[tuple[str, str]]:
    """(topic, subtopic) of all, topics in turn."""
    shuffled = {topic.name: rng.sample(topic.subtopics, len(topic.subtopics)) for topic in topics}
    rounds = max(map(len, shuffled.values()))
    return [(name, subtopics[k]) for k in range(rounds) for name, subtopics in shuffled.items() if k < len(subtopics)]


def _quarters(count: int, rng: random.Random) -> list[bool]:
    """True at one random place of every four in a row."""
    places = [rng.randrange(CHOICES) for _ in range(-(-count // CHOICES))]
    return [places[k // CHOICES] == k % CHOICES for k in range(count)]


def _speakers(scenario: str, rng: random.Random) -> dict[str, str]:
    """{name: sex}: as many of one as of the other, or one more."""
    count, first = rng.randint(*SPEAKERS[scenario]), rng.randrange(2)
    sexes = ["FM"[(first + k) % 2] for k in range(count)]
    return {f"spk_{k + 1}": sex for k, sex in enumerate(sexes)}
