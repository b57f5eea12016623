"""Stage 1 of building: every brief goes to a writer; what it gives is checked, and written anew if it is not good."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from speechprune.common.files import Problem, atomic_write, json_line
from speechprune.common.meter import Meter
from speechprune.construction.checks import faults
from speechprune.construction.drafts import NAME, Written, read_drafts, write_drafts
from speechprune.construction.outcomes import EndpointError, Stopped
from speechprune.construction.plan import Brief, read_plan
from speechprune.construction.writers.base import Writer

log = logging.getLogger(__name__)

FAILED = "failed.jsonl"


@dataclass(frozen=True)
class Failed:
    """A sample that was not written, and why; ``again`` where a later run would try."""

    id: str
    reasons: tuple[str, ...]
    again: bool


def pending(folder: Path, writer: Writer) -> tuple[dict[str, Written], list[Brief]]:
    """What of the plan is written already, by the same writer from the same brief, and what is not."""
    plan = read_plan(folder)
    problems: list[Problem] = []
    rows = read_drafts(folder, problems) if (folder / NAME).is_file() else []
    for problem in problems:
        log.warning("%s; written anew", problem)
    found = {row.brief.id: row for row in rows}
    same = {b.id for b in plan if b.id in found and found[b.id].brief == b and found[b.id].writer == writer.identity}
    if other := len(found) - len(same):
        log.warning("%s: %d samples are of another plan, writer or prompts, and are written anew", folder / NAME, other)
    return {name: found[name] for name in same}, [brief for brief in plan if brief.id not in same]


def write_samples(
    folder: Path, writer: Writer, attempts: int, progress: bool | None = None
) -> tuple[int, list[Failed]]:
    """Write what is not written yet into ``folder/samples.jsonl``, in the plan's order.

    Samples that are there already, and whatever was mended in them by hand, stay as they are.

    Args:
        folder: of the build, with its plan.
        writer: who writes.
        attempts: drafts of a sample that may be refused before it is given up.
        progress: as ``Meter``'s ``shown``.
    Returns:
        how many samples there are, and those that failed, which ``folder/failed.jsonl`` lists with the reasons.
    Raises:
        Stopped: the writer can write no more for now; what it wrote is kept, and the same call goes on.
        ValueError: nothing could be written at all.
    """
    done, todo = pending(folder, writer)
    failed: list[Failed] = []
    stopped: Stopped | None = None
    meter = Meter(_in_threads(writer, todo, attempts), "write", "samples", progress, total=len(todo))
    try:
        for future in meter:
            try:
                result = future.result()
            except Stopped as error:
                stopped = stopped or error
                continue
            if isinstance(result, Written):
                done[result.brief.id] = result
            else:
                failed.append(result)
                meter.failed += 1
    finally:
        _write(folder, done, failed)
    if stopped is not None:
        raise Stopped(f"{stopped}; {len(done)} of {len(done) + len(todo)} samples are written") from stopped
    if not done:
        raise ValueError(f"{folder}: not one sample could be written; the first: {failed[0].reasons[0]}")
    return len(done), failed


def _in_threads(writer: Writer, briefs: Sequence[Brief], attempts: int) -> Iterator[Future[Written | Failed]]:
    """Futures as they end. A call that has begun is waited for, since it is paid for."""
    with ThreadPoolExecutor(writer.concurrent) as pool:
        try:
            yield from as_completed([pool.submit(_write_one, writer, brief, attempts) for brief in briefs])
        finally:
            pool.shutdown(cancel_futures=True)


def _write_one(writer: Writer, brief: Brief, attempts: int) -> Written | Failed:
    wrong: list[str] = []
    for attempt in range(attempts):
        try:
            draft = writer.draft(brief, attempt, wrong)
            wrong = faults(draft, brief)
        except EndpointError as error:
            return Failed(brief.id, (str(error),), again=True)
        except ValueError as error:
            wrong = [str(error)]
        if not wrong:
            return Written(brief, draft, writer.identity, attempt + 1)
    return Failed(brief.id, tuple(wrong), again=False)


def _write(folder: Path, done: dict[str, Written], failed: Sequence[Failed]) -> None:
    order = {brief.id: k for k, brief in enumerate(read_plan(folder))}
    write_drafts(folder / NAME, sorted(done.values(), key=lambda row: order[row.brief.id]))
    with atomic_write(folder / FAILED, "wb") as file:
        for failure in sorted(failed, key=lambda failure: order[failure.id]):
            file.write(json_line({"id": failure.id, "reasons": failure.reasons, "again": failure.again}))
