"""What recordings shall be about: scenario -> topic -> subtopics, ours in ``topics.yaml`` or a user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speechprune.common.files import shown
from speechprune.common.reading import read_yaml
from speechprune.construction.grammar import SPEAKERS

OURS = Path(__file__).with_name("topics.yaml")
_LONGEST = 80  # characters of a name; it stands in sentences, prompts and tables


@dataclass(frozen=True)
class Topic:
    scenario: str
    name: str
    subtopics: tuple[str, ...]


def read_topics(path: Path = OURS) -> list[Topic]:
    """The topics of a YAML file, in its order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not scenario -> topic -> list of subtopics; names scenario, topic and what is wrong there.
    """
    found = []
    for scenario, topics in read_yaml(path).items():
        where = f"{path}: {shown(scenario)}"
        if scenario not in SPEAKERS:
            raise ValueError(f"{where} is no scenario; choose from: {', '.join(SPEAKERS)}")
        if not isinstance(topics, dict) or not topics:
            raise ValueError(f"{where}: {shown(topics)}, expected topics with their subtopics")
        for name, subtopics in topics.items():
            _check_name(name, where)
            if not isinstance(subtopics, list) or not subtopics:
                raise ValueError(f"{where}: {name}: {shown(subtopics)}, expected a list of subtopics")
            for subtopic in subtopics:
                _check_name(subtopic, f"{where}: {name}")
            if len(set(subtopics)) < len(subtopics):
                raise ValueError(f"{where}: {name}: a subtopic stands twice; remove one")
            found.append(Topic(scenario, name, tuple(subtopics)))
    if not found:
        raise ValueError(f"{path}: no topics; expected scenario -> topic -> list of subtopics")
    return found


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST:
        raise ValueError(f"{where}: {shown(name)}, expected a text of one line and at most {_LONGEST} characters")
