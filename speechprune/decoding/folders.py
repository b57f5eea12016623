"""A system's folder of rows: claimed for what the rows depend on, read, and added to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import MappingProxyType

import torch

from speechprune.common.files import Problem, Shard, append_lines, atomic_write, mend, read_jsonl
from speechprune.common.reading import read_json
from speechprune.decoding.listening import Listening
from speechprune.decoding.rows import Key, key_of, row_problem
from speechprune.decoding.systems import SETTINGS, System
from speechprune.decoding.versions import Question, Verdict
from speechprune.models import SpeechLLM


def claim(folder: Path, system: System, model: SpeechLLM) -> None:
    """Write down what the rows in ``folder`` depend on; ValueError when that is not what they depended on before."""
    path, way_out = folder / "config.json", _way_out(folder)
    # Left out where it is the CPU's own: folders from before it was written stay valid.
    precision = {} if model.dtype == torch.float32 else {"dtype": str(model.dtype).removeprefix("torch.")}
    words = {"prompt": model.prompt_fingerprint}
    mine = {"model": model.name, "fingerprint": model.fingerprint, **words, **precision, **system.describe()}
    mine = json.loads(json.dumps(mine))
    described = {"title": system.title, **mine}  # no answer depends on it
    if not path.exists():
        _write(path, described)
        return
    theirs = read_json(path, dict, way_out)
    title = theirs.pop("title", None)
    theirs.setdefault("prompt", mine["prompt"])  # so were folders from before it was written
    ordinary = {"dtype": "float32", **{key: valid[0] for key, valid in SETTINGS.items()}}  # not written
    for key in mine | theirs:
        if theirs.get(key) != mine.get(key):
            before, now = (values.get(key, ordinary.get(key)) for values in (theirs, mine))
            raise ValueError(f"{folder} holds rows with {key} {before!r}, this run has {now!r}; {way_out}")
    if title != system.title:
        _write(path, described)


def _way_out(folder: Path) -> str:
    return f"remove the folder (rm -r {folder}), name the system otherwise, or write to another exp folder"


def _check_transcript(folder: Path, row: dict, now: str | None) -> None:
    read = row.get("transcript")
    if read and now and read["hash"] != now:
        raise ValueError(f"{folder} holds rows about another transcript of {row['recording']}; {_way_out(folder)}")


def _write(path: Path, described: dict) -> None:
    with atomic_write(path) as file:
        json.dump(described, file, indent=2)


class FolderOfRows:
    """The rows of one system: what all jobs have written, and where this one adds to it.

    Attributes:
        answered: what has an answer: ids of questions, with the rotation of their choices (None: not rotated).
        strangers: ids of recordings that have rows about questions that the dump does not have.
        left: keys of which all rows answer another version of their question.
        unverified: keys among the answered that do not say which version they answer.
        heard: what the system heard of the job's own recordings, by its rows of earlier runs and of this one.
    """

    def __init__(
        self,
        file: FileIO,
        folder: Path,
        shard: Shard,
        system: System,
        questions: Mapping[str, Question],
        own: Collection[str],
        problems: list[Problem],
        texts: Mapping[str, str] = MappingProxyType({}),
    ):
        """``texts``: {recording: hash of its transcript as it is now}, of a system that reads transcripts.

        Raises:
            ValueError: a row is about another transcript.
        """
        self._file, self._system = file, system
        self.answered: set[Key] = set()
        self.strangers: set[str] = set()
        self.heard = Listening()
        self._failures: set[tuple[Key, str]] = set()  # with the error
        verdicts: dict[Key, Verdict] = {}
        mine = {f"hyp.{job}.jsonl" for job in range(1, shard.jobs + 1)}
        for path in sorted(folder.glob("hyp.*.jsonl")):
            if path.name not in mine:  # of a job of an earlier run, which no job of this one would mend
                mend(path)
            found: list[Problem] = []
            for row in read_jsonl(path, found):
                if row_problem(row) is not None:
                    continue
                question = questions.get(row["id"])
                if question is None:
                    self.strangers.add(row.get("recording", row["id"]))
                    continue
                _check_transcript(folder, row, texts.get(question.recording))
                key, verdict = key_of(row), question.verdict(row)
                verdicts[key] = max(verdicts.get(key, Verdict.OTHER), verdict)
                if verdict is Verdict.OTHER:
                    continue
                if row["error"] is not None:
                    self._failures.add((key, row["error"]))
                elif key not in self.answered:
                    self.answered.add(key)
                    if question.recording in own:
                        self.heard.add(row, system.audio == "recording")
            # The last line may be one that another job is writing now.
            problems += [problem for problem in found if problem.field != "last line"]
        self.left = {key for key, verdict in verdicts.items() if verdict is Verdict.OTHER}
        self.unverified = sum(verdicts[key] is Verdict.UNVERIFIED for key in self.answered)

    def missing(self, questions: Sequence[dict]) -> bool:
        """Whether one of the questions, as the system is asked them, has no answer yet."""
        return not self.answered.issuperset(map(key_of, questions))

    def add(self, rows: Sequence[dict], errors: Counter[str]) -> tuple[int, int]:
        """Append what is not there yet: a failure that happened before is in the files already.

        Args:
            rows: of the system, about one recording.
            errors: gets each message, once for each row.
        Returns:
            (rows with an answer that are new, rows that were answered before).
        """
        news, done, skipped = [], 0, 0
        for row in rows:
            if key_of(row) in self.answered:
                skipped += 1
                continue
            self.heard.add(row, self._system.audio == "recording")
            if row["error"] is None:
                done += 1
            else:
                errors[row["error"]] += 1
            if (key_of(row), row["error"]) not in self._failures:
                news.append(row)
        if news:
            append_lines(self._file, news)
        return done, skipped
