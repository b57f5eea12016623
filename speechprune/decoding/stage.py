"""Stage 3: audio tokens -> hypotheses. Every system answers every question of a recording from one encoding of it.

``exp/<model>/<set>/<system>/`` holds ``config.json`` (what the system's rows depend on) and, for each job,
``hyp.<job>.jsonl``. Rows are only ever added, a recording's rows of one system in one write: a run that was stopped in
any way goes on where it was, with any number of jobs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lhotse import MonoCut

from speechprune.common.errors import explain
from speechprune.common.files import Problem, Shard, open_append, shown
from speechprune.common.meter import Meter
from speechprune.decoding.answering import Answerer
from speechprune.decoding.batches import Reply
from speechprune.decoding.cascade import NAME, Cascade, Transcripts
from speechprune.decoding.chunks import Chunks, with_chunks
from speechprune.decoding.expected import expect
from speechprune.decoding.folders import FolderOfRows, claim
from speechprune.decoding.listening import Listening
from speechprune.decoding.make_rows import make_row
from speechprune.decoding.rows import questions_of
from speechprune.decoding.systems import DecodeConfig, System
from speechprune.decoding.versions import UNVERIFIED, Left, Question
from speechprune.features.dump import check_model, load_states, read_dump
from speechprune.features.lines import recording_names
from speechprune.features.signals import check_signals, load_signals
from speechprune.models import SpeechLLM
from speechprune.pruners import Pruner

log = logging.getLogger(__name__)

_WHOLE = Shard(1, 1)


@dataclass
class DecodeSummary:
    """Rows of a run; ``str()`` gives a line of counts, one line per problem, and one of what was heard.

    Attributes:
        done: answered in this run.
        skipped: answered before.
        failed: without an answer, whether in this run for the first time or again; each has a row with ``error``.
        lost: recordings that failed in this run without one answer.
        first_error: recording and message; empty where none failed.
        left: recordings with missing rows, since the run was asked to stop.
        problems: lines of dump or hypotheses that cannot be read; recordings that are missing or have no question; rows
            of another version of their question.
        heard: what the systems heard of the job's recordings, by the rows of this run and of earlier ones.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    lost: int = 0
    first_error: str = ""
    left: int = 0
    problems: list[Problem] = field(default_factory=list)
    heard: Listening = field(default_factory=Listening, compare=False)

    def __str__(self) -> str:
        counts = f"{self.done} answered, {self.skipped} answered before, {self.failed} failed"
        counts += f", {self.left} recordings left" if self.left else ""
        problems = (f"  {problem}" for problem in self.problems)
        return "\n".join([f"{counts}, {len(self.problems)} problems", *problems, str(self.heard)])


def decode(
    dump_dir: str | Path,
    exp_dir: str | Path,
    config: DecodeConfig,
    model: SpeechLLM,
    shard: Shard = _WHOLE,
    progress: bool | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> DecodeSummary:
    """Write the missing rows of ``exp_dir/<system>/hyp.<job>.jsonl``, one per question and system.

    docs/stages.md lists the fields of a row. Questions whose rows are of another version are asked again.
    ``expected.json`` says, from the start, which rows there will be (``expected``). With ``permute: cyclic`` there is
    a row for every rotation of the choices: under ``rotation`` r the r-th choice was shown as A, and the letters of the
    row are those that were shown. What cannot be answered becomes a row with ``error`` and is tried again by the next
    run. Rows do not depend on jobs; log-probabilities may, in their last digits, depend on what was batched together
    (``Answerer``).

    Args:
        dump_dir: dump/<model>/<set>, what stage 2 wrote, with the same model; rows name the set after it.
        exp_dir: exp/<model>/<set>.
        config: the systems.
        model: the Speech LLM.
        shard: which part of the recordings; jobs may run at the same time.
        progress: True for a bar on stderr, False for none; None as ``Meter`` has it.
        stop: asked before each recording; once it says True, the rest is left to another run.
    Raises:
        FileNotFoundError: there is no dump, or no transcripts that a system reads.
        ValueError: the model cannot give what a pruner needs, the dump is another model's or has no questions, the
            transcripts are damaged, or ``exp_dir`` holds rows of another model, of other options or transcripts.
        WriteError: a full disk, ..., or another process runs the same job. Finished rows are kept.
        DeviceError: the GPU failed for good. Finished rows are kept.
    """
    dump, exp = Path(dump_dir), Path(exp_dir)
    summary = DecodeSummary()
    # Of all recordings, whatever the dump holds by now: jobs that start at different times must not shift.
    share = set(shard.take(recording_names(dump)))
    cuts = read_dump(dump, summary.problems, share)
    check_model(dump, model)
    sources = {system.pruner.source for system in config.systems if isinstance(system.pruner, Cascade)}
    transcripts = Transcripts(config.transcripts or dump / NAME, sources)
    for system in config.systems:
        if isinstance(system.pruner, Chunks):
            with_chunks(model)
        if isinstance(system.pruner, Pruner):
            check_signals(system.pruner, model)
        claim(exp / system.folder, system, model)
    folders = {s.folder: {"permute": s.permute, "mode": s.mode} for s in config.systems}
    questions = expect(exp, dump, config.identity, folders)
    if not questions:
        raise ValueError(f"{dump}: not one question about its recordings; run stages 1 and 2 on cuts that have some")
    with ExitStack() as stack:
        # Held for the whole run: a second process for this job is refused, and what a killed one left is mended first.
        files = [stack.enter_context(open_append(exp / s.folder / f"hyp.{shard.job}.jsonl")) for s in config.systems]
        texts, found = transcripts.hashes(cuts), summary.problems
        rows = {
            system: FolderOfRows(
                file,
                exp / system.folder,
                shard,
                system,
                questions,
                share,
                found,
                texts.get(system.pruner, {}),
            )
            for system, file in zip(config.systems, files, strict=True)
        }
        summary.problems += _about_earlier_rows(exp, rows.values())
        answerer = Answerer(model, config.batch_tokens)
        for cut in Meter(cuts, f"decode {shard}", "recordings", progress):
            _decode_recording(cut, dump.resolve().name, rows, answerer, transcripts, summary, stop)
        summary.heard = sum((folder.heard for folder in rows.values()), Listening())
    return summary


def _about_earlier_rows(exp: Path, folders: Collection[FolderOfRows]) -> Iterator[Problem]:
    """What is to be said about rows that are not about the dump as it is."""
    if strangers := sorted(set().union(*(folder.strangers for folder in folders))):
        named = f"{len(strangers)} that the dump does not have, such as {shown(strangers[0])}"
        yield Problem(str(exp), "recordings", named, "those of the dump; remove the folder")
    left = Left()
    for folder in folders:
        for name, _ in folder.left:
            left.add(name)
    if left:
        yield Problem(str(exp), "version", f"{left}; asked again", "")
    if unverified := sum(folder.unverified for folder in folders):
        yield Problem(str(exp), "version", f"{unverified} {UNVERIFIED}; they stay, unverified", "")


def _decode_recording(
    cut: MonoCut,
    set_name: str,
    folders: Mapping[System, FolderOfRows],
    answerer: Answerer,
    transcripts: Transcripts,
    summary: DecodeSummary,
    stop: Callable[[], bool],
) -> None:
    """Add the rows that one recording lacks, and count them."""
    questions = questions_of(cut.id, cut.custom)
    if not questions:
        summary.problems.append(Problem(cut.id, "questions", "none, so it has no rows", "at least one"))
    missing = []
    for system, folder in folders.items():
        if folder.missing(wanted := system.turned(questions)):
            missing.append(system)
        else:
            summary.skipped += len(wanted)
    if missing and (summary.left or stop()):
        summary.left += 1
        return
    errors: Counter[str] = Counter()
    before = summary.done
    for system, rows in _rows(cut, set_name, questions, missing, answerer, transcripts):
        done, skipped = folders[system].add(rows, errors)
        summary.done += done
        summary.skipped += skipped
    for message, count in errors.items():
        log.warning("%s: %d rows without an answer: %s", cut.id, count, message)
        summary.first_error = summary.first_error or f"{cut.id}: {message}"
    summary.failed += errors.total()
    summary.lost += bool(errors) and summary.done == before


def _rows(
    cut: MonoCut,
    set_name: str,
    questions: Sequence[dict],
    systems: Sequence[System],
    answerer: Answerer,
    transcripts: Transcripts,
) -> Iterator[tuple[System, list[dict]]]:
    """(system, its rows about one recording) of each system."""
    if not questions or not systems:
        return
    known = {question["id"]: Question.of(cut.id, question, cut.custom.get("audio_hash")) for question in questions}
    error, tokens, signals = cut.custom.get("error"), None, {}
    if error is None:
        try:
            tokens = answerer.model.project(torch.from_numpy(load_states(cut)))
            signals = load_signals(cut)
        except Exception as cause:  # one recording must never stop the run
            error = explain(cause)
    total, texts = None if tokens is None else len(tokens), transcripts.of(cut)
    for permute in dict.fromkeys(system.permute for system in systems):
        group = [system for system in systems if system.permute == permute]
        asked = group[0].turned(questions)
        pairs: Iterable[tuple[System, list[Reply]]]
        if tokens is None:
            failed = [Reply(question, error=error) for question in asked]
            pairs = [(system, failed) for system in group]
        else:
            pairs = answerer.answer(cut.id, tokens, asked, group, signals, texts)
        for system, replies in pairs:
            yield (
                system,
                [
                    make_row(cut, set_name, known[reply.question["id"]], system, reply, total, answerer.model)
                    for reply in replies
                ],
            )
