"""Recordings made by several processes: the same set as by one, and no more than one lost with a process."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.fakes import make_cut
from helpers.raw_corpora import cuts_of, problems_of, snapshot, spiral_row, write_spiral
from lhotse import MonoCut
from speechprune.recipes import spiral

from speechprune.audio import write_wav
from speechprune.data.building import Item, build_cuts


def make(name: str, folder: Path) -> MonoCut:
    """Of test-2 the process dies, of test-4 the engine fails."""
    if name == "test-2" and not (folder / "healed").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "test-4":
        raise RuntimeError("the engine has no more breath")
    write_wav(folder / f"{name}.wav", np.full(16_000 * 5, 0.1, np.float32), 16_000)
    return make_cut(name, folder / f"{name}.wav")


def items(folder: Path, names: list[str]) -> list[Item]:
    return [Item(name, f"x:{k}", 0, partial(make, name, folder)) for k, name in enumerate(names)]


@pytest.mark.parametrize("nj", [1, 2])
def test_what_dies_or_fails_is_one_problem(tmp_path, nj):
    problems = []
    names = ["test-0", "test-1", "bad/id", "test-2", "test-1", *(f"test-{k}" for k in range(3, 12))]
    cuts = build_cuts(tmp_path / "test", items(tmp_path, names), problems, progress=False, nj=nj)
    assert [cut.id for cut in cuts] == [f"test-{k}" for k in range(12) if k not in (2, 4)]
    said = [str(problem).partition(": ")[2] for problem in problems]
    assert said == [
        "id: bad/id, expected letters, digits and _.- only",
        "test-2: the process that made it died: a crash of what speaks, or no memory left; run the same command again",
        "id: test-1, expected an id that no other recording has",
        "test-4: RuntimeError: the engine has no more breath",
    ]
    (tmp_path / "healed").touch()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.wav")}
    again = build_cuts(tmp_path / "test", items(tmp_path, names), [], progress=False, nj=nj)
    assert [cut.id for cut in again] == [f"test-{k}" for k in range(12) if k != 4]
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path):
    names = ("lecture_0", "conversation_1", "meeting_2")
    raw = write_spiral(tmp_path / "raw", [*map(spiral_row, names), spiral_row("lecture_3", metadata__id="a b")])
    made = []
    for nj in (None, 1, 3):
        spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak", nj=nj)
        assert list(cuts_of(tmp_path / "data" / "test")) == [f"test-{name}" for name in names]
        made.append((snapshot(tmp_path / "data" / "test"), problems_of(tmp_path / "data")))
        (tmp_path / "data").rename(tmp_path / f"data-{nj}")
    assert made[0] == made[1] == made[2]
