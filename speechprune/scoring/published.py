"""What is printed elsewhere about a corpus: data beside its recipe, ``recipes/<corpus>.yaml``, under ``published``.

::

    published:
      source: arXiv 2412.12009
      sets:
        test:
          title: SPIRAL               # as tables call the set
          hard: test_h                # the set that the paper has of the questions that Original answers wrongly
          size: {questions: 1012}     # recordings and mean seconds: here, or as quality has them
          deviations: [Why what we do differs.]
          accuracy:                   # percent as printed: {model: {system: figure or {rate: figure}}}
            Qwen2-Audio: {original: "60.38", speechprune: {0.2: "89.23"}}
          quality: {recordings: "1,012", seconds: "87.89", wer: "0.0389", utmos: "3.91"}  # of its speech, as printed

All keys are optional, as the file is. The recipe itself is not imported. Nothing here is measured, or ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from speechprune.common.files import shown
from speechprune.common.reading import read_yaml

Figures = dict[tuple[str, float | None], str]  # {(system, rate): percent as printed}


@dataclass(frozen=True)
class Size:
    """Recordings and questions of a set, and the mean length of a recording in seconds."""

    recordings: int
    questions: int
    seconds: float


@dataclass(frozen=True)
class PublishedSet:
    """What is printed about one set.

    Attributes:
        title: what tables call it; None for its own name.
        source: where the figures stand.
        accuracy: {model: figures}, the model that stands for others first.
        hard: the same on the questions that Original answers wrongly.
        size: how much there is, for plans; None where that is not printed.
        deviations: why figures may differ, a sentence each.
        quality: of its speech: number of ``recordings``, their mean ``seconds``, ``wer`` and ``utmos``, as printed.
    """

    title: str | None
    source: str
    accuracy: dict[str, Figures]
    hard: dict[str, Figures]
    quality: dict[str, str]
    size: Size | None = None
    deviations: tuple[str, ...] = ()


def published(corpus: str | None, name: str) -> PublishedSet | None:
    """What is printed about a set of a corpus; None where that is nothing, or where the corpus is not known.

    Raises:
        ValueError: the corpus' file is not as it should be.
    """
    return _sets(corpus).get(name) if corpus and re.fullmatch(r"[A-Za-z0-9_-]+", corpus) else None


def published_qualities() -> list[PublishedSet]:
    """The sets of all recipes whose speech's quality is printed.

    Raises:
        ValueError: a corpus' file is not as it should be.
    """
    folder = Path(str(resources.files("speechprune.recipes")))
    sets = [found for path in sorted(folder.glob("*.yaml")) for found in _sets(path.stem).values()]
    return [found for found in sets if found.quality]


def set_title(document: dict) -> str:
    """What tables call the set of a score.json: as it is printed, else ``corpus set``, else its bare name."""
    corpus, name = document.get("corpus"), document["set"]
    found = published(corpus, name)
    return (found and found.title) or (f"{corpus} {name}" if corpus else name)


def printed_model(document: dict) -> str | None:
    """The model whose figures stand beside a score.json: its own, else the first that is printed; None without any."""
    found = published(document.get("corpus"), document["set"])
    if found is None or not (models := [*found.accuracy, *found.hard]):
        return None
    return family(document["model"], models) or models[0]


def family(model: str, models: list[str]) -> str | None:
    """Which of the printed ``models`` a name or path stands for, as ``Qwen/Qwen2-Audio-7B`` for Qwen2-Audio."""
    return next((name for name in models if _plain(name) in _plain(model)), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


@cache
def _sets(corpus: str) -> dict[str, PublishedSet]:
    path = Path(str(resources.files("speechprune.recipes"))) / f"{corpus}.yaml"
    if not path.is_file():
        return {}
    content = read_yaml(path).get("published") or {}
    try:
        sets = content.get("sets", {})
        figures = {name: _by_model(about.get("accuracy", {})) for name, about in sets.items()}
        return {
            name: PublishedSet(
                title=about.get("title"),
                source=content.get("source", path.name),
                accuracy=figures[name],
                hard=figures[about["hard"]] if "hard" in about else {},
                size=_size(about),
                deviations=tuple(about.get("deviations", ())),
                quality=_texts(about.get("quality", {})),
            )
            for name, about in sets.items()
        }
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: 'published' is not as speechprune/scoring/published.py says: {error}") from error


def _texts(printed: dict) -> dict[str, str]:
    for name, figure in printed.items():
        if not isinstance(figure, str):
            raise ValueError(f"quality: {name}: {shown(figure)}, expected the figure in quotes, digit for digit")
    return printed


def _size(about: dict) -> Size | None:
    if "size" not in about:
        return None
    printed = about.get("quality", {})
    numbers = {name: float(printed[name].replace(",", "")) for name in ("recordings", "seconds") if name in printed}
    numbers |= about["size"]
    return Size(int(numbers["recordings"]), int(numbers["questions"]), float(numbers["seconds"]))


def _by_model(models: dict) -> dict[str, Figures]:
    return {model: _figures(systems) for model, systems in models.items()}


def _figures(systems: dict) -> Figures:
    found: Figures = {}
    for system, printed in systems.items():
        rates = printed if isinstance(printed, dict) else {None: printed}
        for rate, figure in rates.items():
            if not isinstance(figure, str):
                raise ValueError(f"{system}: {shown(figure)}, expected the figure in quotes, digit for digit")
            found[system, None if rate is None else float(rate)] = figure
    return found
