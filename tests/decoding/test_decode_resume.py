"""Stage 3, stopped in every way: kill -9 at any write, a full disk, jobs at the same time. The rows stay the same."""

from __future__ import annotations

import json
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.decoding import config_of, lines_of, make_dump, make_recordings, run
from helpers.fakes import in_child

from speechprune.common.files import Shard
from speechprune.decoding import folders
from speechprune.decoding.stage import decode

SYSTEMS = ["original", "rap", {"name": "silence", "method": "full", "audio": "silence"}]  # 4 with two rates of rap
QUESTIONS, RECORDINGS, FOLDERS = 3, 4, 4


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return make_dump(folder, make_recordings(folder), model)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, dump, model) -> list[bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(dump, folder / "exp", config_of(folder, systems=SYSTEMS), model)
    lines = lines_of(folder / "exp")
    assert len(lines) == RECORDINGS * QUESTIONS * FOLDERS
    return lines


# How a run dies at a write: what it leaves of the rows.
DEATHS = {
    "before the write": lambda data: b"",
    "in the first row": lambda data: data[:100],
    "in the third row": lambda data: data[: data[:-1].rindex(b"\n") + 100],
    "before the last newline": lambda data: data[:-1],
    "after the write": lambda data: data,
}


def dying(monkeypatch, death: str, at: int) -> None:
    append, calls = folders.append_lines, iter(range(999))

    def die(handle, rows):
        if next(calls) < at:
            return append(handle, rows)
        handle.write(DEATHS[death](b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)))
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(folders, "append_lines", die)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (3, 1), (2, 3)])
@pytest.mark.parametrize("at", [0, 5])
@pytest.mark.parametrize("death", DEATHS)
def test_a_run_killed_at_a_write_goes_on(tmp_path, dump, model, monkeypatch, undisturbed, death, at, before, after):
    config = config_of(tmp_path, systems=SYSTEMS)
    with monkeypatch.context() as patch:
        dying(patch, death, at)
        signals = [
            in_child(lambda job=job: decode(dump, tmp_path / "exp", config, model, Shard(job, before), progress=False))[
                0
            ]
            for job in range(1, before + 1)
        ]
    assert signals[0] == signal.SIGKILL
    # A row that lacks nothing but its newline is as good as kept.
    kept = {line.rstrip(b"\n") + b"\n" for line in lines_of(tmp_path / "exp")} & set(undisturbed)
    assert len(kept) < len(undisturbed)
    summaries = run(dump, tmp_path / "exp", config, model, after)
    assert lines_of(tmp_path / "exp") == undisturbed
    assert [summary.problems for summary in summaries] == [[]] * after
    assert sum(summary.skipped for summary in summaries) == len(kept)
    assert sum(summary.done for summary in summaries) == len(undisturbed) - len(kept)


def test_a_run_killed_again_and_again_ends(tmp_path, dump, model, monkeypatch, undisturbed):
    config = config_of(tmp_path, systems=SYSTEMS)
    rounds = 0
    while len(set(lines_of(tmp_path / "exp")) & set(undisturbed)) < len(undisturbed):
        with monkeypatch.context() as patch:
            dying(patch, "in the third row", 2)
            jobs = 1 + rounds % 3
            for job in range(1, jobs + 1):
                in_child(
                    lambda job=job, jobs=jobs: decode(dump, tmp_path / "exp", config, model, Shard(job, jobs), False)
                )
        rounds += 1
        assert rounds < 20
    run(dump, tmp_path / "exp", config, model)
    assert lines_of(tmp_path / "exp") == undisturbed


def test_jobs_at_the_same_time(tmp_path, dump, model, undisturbed):
    config = config_of(tmp_path, systems=SYSTEMS)
    for exp in (tmp_path / "a", tmp_path / "b"):
        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(decode, dump, exp, config, model, Shard(job, 3), False) for job in (1, 2, 3)]
        assert sum(job.result().done for job in jobs) == len(undisturbed)
        assert lines_of(exp) == undisturbed


@pytest.mark.parametrize("limit", [2600, 3600])  # above the size of expected.json
def test_a_full_disk_is_named_and_a_rerun_completes(tmp_path, dump, model, undisturbed, limit):
    config, exp = config_of(tmp_path, systems=SYSTEMS), tmp_path / "exp"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return run(dump, exp, config, model)

    signal_number, message = in_child(work)
    assert signal_number == 0
    assert str(message).startswith(f"WriteError: cannot write {exp / 'original' / 'hyp.1.jsonl'}: File too large (27)")
    assert str(message).endswith("free some space and rerun: finished work is kept")
    kept = lines_of(exp)
    assert 0 < len(kept) < len(undisturbed)
    assert set(kept) < set(undisturbed)  # nothing half-written
    (summary,) = run(dump, exp, config, model)
    assert (summary.skipped, summary.done) == (len(kept), len(undisturbed) - len(kept))
    assert lines_of(exp) == undisturbed


def test_a_disk_that_is_full_from_the_start(tmp_path, dump, model, undisturbed):
    config, exp = config_of(tmp_path, systems=SYSTEMS), tmp_path / "exp"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return run(dump, exp, config, model)

    assert f"cannot write {exp / 'original' / 'config.json'}: File too large" in str(in_child(work)[1])
    run(dump, exp, config, model)
    assert lines_of(exp) == undisturbed
