"""Stage 3: audio tokens -> hypotheses. Every system answers every question of a recording from one encoding of it.

``exp/<model>/<set>/<system>/`` holds ``config.json`` (what the system's rows depend on) and, for each job,
``hyp.<job>.jsonl``. Rows are only ever added, a recording's rows of one system in one write: a run that was stopped in
any way goes on where it was, with any number of jobs.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import torch
from lhotse import MonoCut
from tqdm import tqdm

from speechprune.common.errors import explain
from speechprune.common.files import Problem, Shard, append_lines, atomic_write, mend, open_append, read_jsonl
from speechprune.decoding.answering import Answerer
from speechprune.decoding.batches import Reply
from speechprune.decoding.rows import Key, is_row, key_of, make_row
from speechprune.decoding.systems import SETTINGS, DecodeConfig, System
from speechprune.features.dump import check_model, load_states, read_dump, recording_names
from speechprune.models import SpeechLLM

log = logging.getLogger(__name__)

_WHOLE = Shard(1, 1)


@dataclass
class DecodeSummary:
    """Rows of a run; ``str()`` gives one line of counts and one line per problem.

    Attributes:
        done: answered in this run.
        skipped: answered before.
        failed: without an answer, whether in this run for the first time or again; each has a row with ``error``.
        lost: recordings that failed in this run without one answer.
        first_error: recording and message; empty where none failed.
        left: recordings with missing rows, since the run was asked to stop.
        problems: lines of dump or hypotheses that cannot be read; recordings that are missing or have no question.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    lost: int = 0
    first_error: str = ""
    left: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"{self.done} answered, {self.skipped} answered before, {self.failed} failed"
        counts += f", {self.left} recordings left" if self.left else ""
        return "\n".join([f"{counts}, {len(self.problems)} problems", *(f"  {problem}" for problem in self.problems)])


def decode(
    dump_dir: str | Path,
    exp_dir: str | Path,
    config: DecodeConfig,
    model: SpeechLLM,
    shard: Shard = _WHOLE,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> DecodeSummary:
    """Write the missing rows of ``exp_dir/<system>/hyp.<job>.jsonl``, one per question and system.

    A row has id, recording, system, rate, model, set, prediction (letter; null where a generated reply names no
    choice), answer (letter), choice_logprobs (list; null in mode generate), reply (text, in mode generate), tokens
    (number kept), total_tokens, kept (which: ``hypotheses.unpack_tokens``; null where the recording is not heard),
    evidence_recall (share of the evidence's tokens kept, or null), evidence_precision (share of the kept tokens that
    are the evidence's, or null), error and source_hash (of the cut). A system with ``permute: cyclic`` has a row for
    every rotation of the choices: under ``rotation`` r the r-th choice was shown as A, and the letters of the row are
    those that were shown. What cannot be answered becomes a row with ``error`` and is tried again by the next run. Rows
    do not depend on jobs; log-probabilities may, in their last digits, depend on what was batched together
    (``Answerer``).

    Args:
        dump_dir: what stage 2 wrote, with the same model.
        exp_dir: exp/<model>/<set>.
        config: the systems.
        model: the Speech LLM.
        shard: which part of the recordings; jobs may run at the same time.
        progress: show a bar on stderr.
        stop: asked before each recording; once it says True, the rest is left to another run.
    Raises:
        FileNotFoundError: there is no dump.
        ValueError: the dump is another model's, or ``exp_dir`` holds rows of another model, of other options or of an
            earlier version of a recording.
        WriteError: a full disk, ..., or another process runs the same job. Finished rows are kept.
        DeviceError: the GPU failed for good. Finished rows are kept.
    """
    dump, exp = Path(dump_dir), Path(exp_dir)
    summary = DecodeSummary()
    cuts = read_dump(dump, summary.problems)
    check_model(dump, model)
    for system in config.systems:
        _claim(exp / system.folder, system, model)
    with ExitStack() as stack:
        # Held for the whole run: a second process for this job is refused, and what a killed one left is mended first.
        files = [stack.enter_context(open_append(exp / s.folder / f"hyp.{shard.job}.jsonl")) for s in config.systems]
        hypotheses = {
            system.folder: _Hypotheses(file, exp / system.folder, shard, cuts, summary.problems)
            for system, file in zip(config.systems, files, strict=True)
        }
        if strangers := sorted(set().union(*(h.recordings for h in hypotheses.values())) - {cut.id for cut in cuts}):
            named = f"{len(strangers)} that the dump does not have, such as {strangers[0]}"
            summary.problems.append(Problem(str(exp), "recordings", named, "those of the dump; remove the folder"))
        answerer = Answerer(model, config.batch_tokens)
        # Of all recordings, whatever the dump holds by now: jobs that start at different times must not shift.
        share = set(shard.take(recording_names(dump)))
        mine = [cut for cut in cuts if cut.id in share]
        for cut in tqdm(mine, f"decode {shard}", unit="rec", disable=not progress, file=sys.stderr):
            questions = _questions(cut, summary.problems)
            missing = []
            for system in config.systems:
                wanted = [key_of(question) for question in system.turned(questions)]
                if hypotheses[system.folder].answered.issuperset(wanted):
                    summary.skipped += len(wanted)
                else:
                    missing.append(system)
            if missing and (summary.left or stop()):
                summary.left += 1
                continue
            errors: Counter[str] = Counter()
            done = summary.done
            for system, rows in _rows(cut, questions, missing, answerer):
                hypotheses[system.folder].add(rows, summary, errors)
            for message, count in errors.items():
                log.warning("%s: %d rows without an answer: %s", cut.id, count, message)
                summary.first_error = summary.first_error or f"{cut.id}: {message}"
            summary.lost += bool(errors) and summary.done == done
    return summary


class _Hypotheses:
    """The rows of one system: what all jobs have written, and where this one adds to it.

    Attributes:
        answered: what has an answer: ids of questions, with the rotation of their choices (None: not rotated).
        recordings: ids of the recordings that have rows.
    """

    def __init__(self, file: FileIO, folder: Path, shard: Shard, cuts: Sequence[MonoCut], problems: list[Problem]):
        self._file = file
        self.answered: set[Key] = set()
        self.recordings: set[str] = set()
        self._failures: set[tuple[Key, str]] = set()  # with the error
        current = {cut.id: cut.custom.get("source_hash") for cut in cuts}
        mine = {f"hyp.{job}.jsonl" for job in range(1, shard.jobs + 1)}
        for path in sorted(folder.glob("hyp.*.jsonl")):
            if path.name not in mine:  # of a job of an earlier run, which no job of this one would mend
                mend(path)
            for row in filter(is_row, read_jsonl(path, found := [])):
                self.recordings.add(row["recording"])
                if row["error"] is not None:
                    self._failures.add((key_of(row), row["error"]))
                elif current.get(row["recording"], row["source_hash"]) == row["source_hash"]:
                    self.answered.add(key_of(row))
                else:
                    raise ValueError(
                        f"{path} answers an earlier version of {row['recording']}, whose cut has changed since; "
                        f"remove the folder (rm -r {folder}) or write to another exp folder"
                    )
            # The last line may be one that another job is writing now.
            problems += [problem for problem in found if problem.field != "last line"]

    def add(self, rows: Sequence[dict], summary: DecodeSummary, errors: Counter[str]) -> None:
        """Append what is not there yet: a failure that happened before is in the files already."""
        news = []
        for row in rows:
            if key_of(row) in self.answered:
                summary.skipped += 1
                continue
            if row["error"] is None:
                summary.done += 1
            else:
                summary.failed += 1
                errors[row["error"]] += 1
            if (key_of(row), row["error"]) not in self._failures:
                news.append(row)
        if news:
            append_lines(self._file, news)


def _claim(folder: Path, system: System, model: SpeechLLM) -> None:
    """Write down what the rows in ``folder`` depend on; ValueError when that is not what they depended on before."""
    path = folder / "config.json"
    # Left out where it is the CPU's own: folders from before it was written stay valid.
    precision = {} if model.dtype == torch.float32 else {"dtype": str(model.dtype).removeprefix("torch.")}
    words = {"prompt": model.prompt_fingerprint}
    mine = {"model": model.name, "fingerprint": model.fingerprint, **words, **precision, **system.describe()}
    mine = json.loads(json.dumps(mine))
    if not path.exists():
        with atomic_write(path) as file:
            json.dump(mine, file, indent=2)
        return
    way_out = f"remove the folder (rm -r {folder}), name the system otherwise, or write to another exp folder"
    try:
        theirs = dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); {way_out}") from error
    theirs.setdefault("prompt", mine["prompt"])  # so were folders from before it was written
    ordinary = {"dtype": "float32", **{key: valid[0] for key, valid in SETTINGS.items()}}  # not written
    for key in mine | theirs:
        if theirs.get(key) != mine.get(key):
            before, now = (values.get(key, ordinary.get(key)) for values in (theirs, mine))
            raise ValueError(f"{folder} holds rows with {key} {before!r}, this run has {now!r}; {way_out}")


def _questions(cut: MonoCut, problems: list[Problem]) -> list[dict]:
    """The questions of a cut, which may be one that stage 2 refused: those get an id if they lack one."""
    questions = cut.custom.get("questions")
    if not isinstance(questions, list) or not questions:
        problems.append(Problem(cut.id, "questions", "none, so it has no rows", "at least one"))
        return []
    found = []
    for k, question in enumerate(questions):
        question = question if isinstance(question, dict) else {}
        name = question.get("id")
        good = isinstance(name, str) and name and name.isprintable()
        question = {key: value for key, value in question.items() if key != "rotation"}  # a word of ours
        found.append(question if good else question | {"id": f"{cut.id}-q{k}"})
    return found


def _rows(
    cut: MonoCut, questions: Sequence[dict], systems: Sequence[System], answerer: Answerer
) -> Iterator[tuple[System, list[dict]]]:
    """(system, its rows about one recording) of each system."""
    if not questions or not systems:
        return
    error, tokens = cut.custom.get("error"), None
    if error is None:
        try:
            tokens = answerer.model.project(torch.from_numpy(load_states(cut)))
        except Exception as cause:  # one recording must never stop the run
            error = explain(cause)
    total = None if tokens is None else len(tokens)
    for permute in dict.fromkeys(system.permute for system in systems):
        group = [system for system in systems if system.permute == permute]
        asked = group[0].turned(questions)
        if error is not None:
            replies = [Reply(question, error=error) for question in asked]
            pairs = ((system, replies) for system in group)
        else:
            pairs = answerer.answer(cut.id, tokens, asked, group)
        for system, replies in pairs:
            yield system, [make_row(cut, system, reply, total, answerer.model) for reply in replies]
