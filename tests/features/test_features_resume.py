"""Stage 2 stopped in every way: kill -9 at any point, other numbers of jobs, a full disk."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from pathlib import Path

import pytest
from helpers.fakes import EnergyModel, assert_same, dump_of, expected_of, extract, in_child, make_corpus
from lhotse import MonoCut

from speechprune.common.files import Problem
from speechprune.data.cuts import write_cuts
from speechprune.features import archives
from speechprune.features import extract as features
from speechprune.features.dump import load_states, read_dump
from speechprune.features.extract import FeatureSummary, extract_features


@pytest.fixture
def corpus(tmp_path) -> list[MonoCut]:
    cuts = make_corpus(tmp_path, 5)
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    return cuts


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_encoding(at: int, monkeypatch) -> EnergyModel:
    return EnergyModel(lambda index: kill() if index == at else None)


def die_after_the_array(at: int, monkeypatch) -> EnergyModel:
    append, count = features.append_lines, iter(range(99))
    monkeypatch.setattr(features, "append_lines", lambda *a: kill() if next(count) == at else append(*a))
    return EnergyModel()


def die_in_the_line(at: int, monkeypatch) -> EnergyModel:
    append, count = features.append_lines, iter(range(99))

    def torn(handle, data):
        if next(count) == at:
            handle.write(json.dumps(data[0])[:300].encode())
            kill()
        append(handle, data)

    monkeypatch.setattr(features, "append_lines", torn)
    return EnergyModel()


def die_before_the_newline(at: int, monkeypatch) -> EnergyModel:
    append, count = features.append_lines, iter(range(99))

    def torn(handle, data):
        if next(count) == at:
            handle.write(json.dumps(data[0]).encode())
            kill()
        append(handle, data)

    monkeypatch.setattr(features, "append_lines", torn)
    return EnergyModel()


def die_in_the_array(at: int, monkeypatch) -> EnergyModel:
    append, count = archives.append_bytes, iter(range(99))

    def torn(handle, *parts, sync=False):
        if next(count) == at:
            data = b"".join(parts)
            handle.write(data[: len(data) // 2])
            kill()
        return append(handle, *parts, sync=sync)

    monkeypatch.setattr(archives, "append_bytes", torn)
    return EnergyModel()


DEATHS = [die_encoding, die_after_the_array, die_in_the_line, die_before_the_newline, die_in_the_array]


@pytest.mark.parametrize(("jobs_before", "jobs_after"), [(1, 1), (1, 3), (2, 1)])
@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("death", DEATHS)
def test_a_run_killed_anywhere_goes_on(tmp_path, corpus, monkeypatch, death, at, jobs_before, jobs_after):
    with monkeypatch.context() as patch:
        model = death(at, patch)
        for job in range(jobs_before, 0, -1):  # job 2 has two recordings and may live, job 1 has more and dies
            ended = in_child(lambda job=job: extract(tmp_path, model, f"{job}/{jobs_before}"))[0]
    assert ended == signal.SIGKILL
    kept = len(good_rows(tmp_path / "dump"))
    counts = [extract(tmp_path, shard=f"{job}/{jobs_after}") for job in range(1, jobs_after + 1)]
    assert sum(count.done for count in counts) == 5 - kept
    assert sum(count.skipped for count in counts) == kept
    assert_same(dump_of(tmp_path), expected_of(corpus))
    # Each exactly once, and what an undisturbed run stores.
    assert sorted(row["id"] for row in good_rows(tmp_path / "dump")) == [cut.id for cut in corpus]
    extract_features(tmp_path / "cuts.jsonl.gz", tmp_path / "b" / "dump", EnergyModel(), progress=False)
    undisturbed = {name: states.tobytes() for name, states in dump_of(tmp_path / "b").items()}
    assert {name: states.tobytes() for name, states in dump_of(tmp_path).items()} == undisturbed


def good_rows(dump: Path) -> list[dict]:
    """The whole lines of all jobs, read without the library."""
    found = []
    for path in dump.glob("cuts.*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def test_an_unfinished_dump_says_what_is_missing(tmp_path, corpus):
    in_child(lambda: extract(tmp_path, die_encoding(2, None)))
    problems: list[Problem] = []
    assert [cut.id for cut in read_dump(tmp_path / "dump", problems)] == ["test-0000", "test-0001"]
    assert [str(problem) for problem in problems] == [
        f"{tmp_path / 'dump'}: recordings: 3 missing: test-0002, test-0003, test-0004, expected all; run stage 2 again"
    ]


@pytest.mark.parametrize("limit", [1200, 2300, 4000])
def test_a_full_disk_is_named_and_a_rerun_completes(tmp_path, corpus, limit):
    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return extract(tmp_path)

    signal_number, summary = in_child(work)
    assert signal_number == 0
    assert isinstance(summary, FeatureSummary), summary
    assert summary.failed == summary.unwritten == 5 - summary.done > 0
    assert len(summary.problems) == summary.failed
    for problem in summary.problems:
        assert "cannot write " in str(problem)
        assert str(tmp_path / "dump") in str(problem)
        assert "free some space and rerun: finished work is kept" in str(problem)
    problems: list[Problem] = []
    kept = read_dump(tmp_path / "dump", problems)
    assert len(kept) == summary.done
    assert [load_states(cut).shape for cut in kept] == [(125, 4)] * summary.done
    assert f"{summary.failed} missing" in str(problems[0])
    assert extract(tmp_path) == FeatureSummary(done=summary.failed, skipped=summary.done, failed=0)
    assert_same(dump_of(tmp_path), expected_of(corpus))


def test_a_disk_that_is_full_from_the_start_stops_the_run(tmp_path, corpus):
    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return extract(tmp_path)

    message = str(in_child(work)[1])
    assert f"cannot write {tmp_path / 'dump' / 'model.json'}" in message
    assert "free some space and rerun" in message
    assert extract(tmp_path).done == 5
