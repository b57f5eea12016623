"""What a writer gives for a brief: a dialogue with its question. Endpoints are held to a JSON schema made of it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from speechprune.common.files import Problem, atomic_write, json_line, read_numbered, shown
from speechprune.construction.plan import Brief

NAME = "samples.jsonl"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DraftTurn(_Strict):
    """What one speaker says before another does."""

    speaker: str = Field(description="one of the speakers' names")
    sentences: list[str] = Field(description="what is said, one sentence each, nothing but spoken words")


class Distractor(_Strict):
    """A wrong choice."""

    text: str = Field(description="a wrong choice, of the same kind and about as long as the answer")
    spoken: bool = Field(description="whether exactly these words are said in the recording")


class Draft(_Strict):
    """One sample as it was written."""

    turns: list[DraftTurn] = Field(description="the whole recording, turn by turn")
    key_sentence: str = Field(description="the one sentence of the turns that answers the question, copied exactly")
    question: str = Field(description="a question that only the key sentence answers")
    answer: str = Field(description="the right choice: a few words of the key sentence, copied exactly")
    distractors: list[Distractor] = Field(description="three wrong choices")

    @property
    def sentences(self) -> list[str]:
        """All that is said, in order."""
        return [sentence for turn in self.turns for sentence in turn.sentences]

    @property
    def transcript(self) -> str:
        return " ".join(self.sentences)

    @property
    def choices(self) -> list[str]:
        """The answer first."""
        return [self.answer, *(distractor.text for distractor in self.distractors)]


@dataclass(frozen=True)
class Written:
    """A draft with what it was asked to be, and who wrote it: a line of ``samples.jsonl``.

    Attributes:
        writer: {"name", "model", "licence"}.
        attempts: drafts that it took.
    """

    brief: Brief
    draft: Draft
    writer: dict[str, str]
    attempts: int


def parse_draft(text: str) -> Draft:
    """A draft from JSON.

    Raises:
        ValueError: not JSON, or not of the schema; says where, in one line that can be shown to its writer.
    """
    try:
        return Draft.model_validate(json.loads(text))
    except RecursionError as error:
        raise ValueError("the reply is nested too deeply to be JSON of the schema") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"the reply is not JSON: {error}") from error
    except ValueError as error:  # pydantic's, of several lines
        raise ValueError(f"the reply is not of the schema: {_first(error)}") from error


def _first(error: ValueError) -> str:
    found = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
    place = ".".join(map(str, found["loc"])) or "it"
    return f"{shown(place)}: {found['msg']}"


def write_drafts(path: Path, rows: list[Written]) -> None:
    """``samples.jsonl``: one line a sample, to be read, and mended, by hand."""
    with atomic_write(path, "wb") as file:
        file.writelines(json_line(asdict(row) | {"draft": row.draft.model_dump()}) for row in rows)


def read_drafts(folder: Path, problems: list[Problem]) -> list[Written]:
    """What ``write_drafts`` wrote; lines that are none are reported and left out.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path, found = folder / NAME, []
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}; write the samples first: speechprune write {folder}")
    for number, row in read_numbered(path, problems):
        try:
            brief = Brief(**row["brief"])
            found.append(Written(brief, parse_draft(json.dumps(row["draft"])), row["writer"], row["attempts"]))
        except (ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())
            problems.append(
                Problem(f"{path.name}:{number}", "sample", f"{type(error).__name__}: {reason}", "one of write")
            )
    return found


def words(text: str) -> list[str]:
    """The words of a text as they are compared: small letters, no punctuation."""
    return re.findall(r"[\w']+", text.casefold())


def stands_in(phrase: str, text: str) -> bool:
    """Whether ``phrase`` stands in ``text``, word for word."""
    return f" {' '.join(words(phrase))} " in f" {' '.join(words(text))} "
