"""Atomic writes, JSON lines that survive kill -9, shards."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import resource
import signal
from threading import Timer
from unittest.mock import Mock

import pytest
from helpers.fakes import in_child, rows
from hypothesis import given
from hypothesis import strategies as st

from speechprune.common import lines
from speechprune.common.files import (
    Problem,
    Shard,
    WriteError,
    append_lines,
    atomic_write,
    mend,
    open_append,
    read_jsonl,
    shown,
)


def test_problem_reads_as_one_line():
    problem = Problem("test-0003", "questions[1].answer", "7", "an index below 4")
    assert str(problem) == "test-0003: questions[1].answer: 7, expected an index below 4"
    assert str(Problem("test-0003", "audio", "gone", "")) == "test-0003: audio: gone"
    assert shown("a\nb" * 50) == shown("a\nb" * 50)[:57] + "..."
    assert "\n" not in shown("a\nb")


# atomic_write


def test_atomic_write_makes_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "x.txt"
    with atomic_write(path) as file:
        file.write("größer\n")
        assert not path.exists()
    assert path.read_bytes() == "größer\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


def test_atomic_write_keeps_the_old_file_when_the_block_raises(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_write(path, "wb") as file:
        file.write(b"new")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_atomic_write_honours_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "x"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def full_disk(work, limit: int):
    """``work`` in a process whose files may not pass ``limit`` bytes: writing more fails as on a full disk."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return work()

    return in_child(limited)


def test_atomic_write_on_a_full_disk_names_file_and_way_out(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def work():
        with atomic_write(path) as file:
            file.write("x" * 10_000)

    error = str(full_disk(work, 1000)[1])
    assert f"cannot write {path}: File too large ({errno.EFBIG})" in error
    assert "free some space and rerun: finished work is kept" in error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_atomic_write_below_a_file_names_the_target(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"cannot write .*file/x\.txt: "), atomic_write(tmp_path / "file" / "x.txt"):
        pass


def test_atomic_write_does_not_claim_the_errors_of_other_files(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x"):
        (tmp_path / "absent").read_text()


# JSON lines


def test_read_jsonl_reports_broken_lines_and_goes_on(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n\n[1]\n\xff\xfe\n{"a": 2}\n{"a"')
    problems: list[Problem] = []
    assert list(read_jsonl(path, problems)) == [{"a": 1}, {"a": 2}]
    assert [p.where for p in problems] == [f"{path}:{n}" for n in (2, 4, 5, 7)]
    assert [p.field for p in problems] == ["line", "line", "line", "last line"]
    assert "expected a JSON object" in str(problems[0])


def test_read_jsonl_passes_over_a_line_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 1000)
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb") as file:
        file.write(b'{"a": 1}\n{"b": "' + b"x" * 5000 + b'"}\n{"c": 3}\n')
    problems = []
    assert list(read_jsonl(tmp_path / "bomb.jsonl.gz", problems)) == [{"a": 1}, {"c": 3}]
    assert [problem.where for problem in problems] == [f"{tmp_path / 'bomb.jsonl.gz'}:2"]
    assert "the line is longer than 1000 bytes" in str(problems[0])


def test_the_mark_of_some_editors_costs_no_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"b": 2}\n')
    problems = []
    assert list(read_jsonl(tmp_path / "a.jsonl", problems)) == [{"a": 1}, {"b": 2}]
    assert problems == []


def test_read_jsonl_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*absent\.jsonl"):
        list(read_jsonl(tmp_path / "absent.jsonl", []))


@pytest.mark.parametrize("damage", ["cut", "not gzip"])
def test_read_jsonl_reads_gzip_up_to_its_damage(tmp_path, damage):
    path = tmp_path / "x.jsonl.gz"
    whole = [{"n": n, "text": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(2000)]
    data = gzip.compress("".join(json.dumps(row) + "\n" for row in whole).encode())
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"hello\n")
    problems: list[Problem] = []
    found = list(read_jsonl(path, problems))
    assert found == whole[: len(found)]
    assert bool(found) == (damage == "cut")
    assert "a whole gzip file" in str(problems[-1])


def test_append_lines_takes_what_utf8_cannot_hold(tmp_path):
    path = tmp_path / "x.jsonl"
    data = [{"text": "你好"}, {"text": "half \ud800"}]
    with open_append(path) as file:
        append_lines(file, data)
    assert list(read_jsonl(path, [])) == data
    assert "你好" in path.read_text(encoding="utf-8")


def test_append_to_a_full_disk_names_the_file():
    with open_append("/dev/full") as file, pytest.raises(WriteError) as caught:
        append_lines(file, [{"a": 1}])
    assert str(caught.value) == (
        "cannot write /dev/full: No space left on device (28); free some space and rerun: finished work is kept"
    )
    assert caught.value.errno == errno.ENOSPC


def test_append_that_fails_half_way_leaves_no_part_of_a_line(tmp_path):
    path = tmp_path / "x.jsonl"
    with open_append(path) as file:
        append_lines(file, [{"n": 0}])

    def work():
        with open_append(path) as file:
            append_lines(file, [{"n": 1}])
            with pytest.raises(WriteError, match="free some space"):
                append_lines(file, [{"n": 2, "text": "x" * 5000}])
            append_lines(file, [{"n": 3}])
        return "done"

    assert full_disk(work, 1000) == (0, "done")
    assert [row["n"] for row in rows(path)] == [0, 1, 3]


def test_open_append_makes_folders_and_refuses_a_second_writer(tmp_path):
    path = tmp_path / "a" / "x.jsonl"
    with open_append(path), pytest.raises(WriteError, match=r"x\.jsonl: another process is writing it"):
        open_append(path)
    with open_append(path) as file:  # free again
        append_lines(file, [{"n": 1}])
    assert rows(path) == [{"n": 1}]


def test_mending_leaves_alone_what_another_process_writes(tmp_path, monkeypatch):
    path = tmp_path / "x.jsonl"
    with open_append(path) as handle:
        handle.write(b'{"a": 1}\n{"b": ')
        mend(path)
    assert path.read_bytes() == b'{"a": 1}\n{"b": '
    mend(path)
    assert path.read_bytes() == b'{"a": 1}\n'
    path.write_bytes(b'{"a": 1}\n{"b": ')
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(errno.ENOLCK, "no locks here")))
    mend(path)
    assert path.read_bytes() == b'{"a": 1}\n{"b": '
    mend(tmp_path / "none")


def test_open_append_waits_for_a_moment(tmp_path):
    path = tmp_path / "x.jsonl"
    first = open_append(path)
    Timer(0.1, first.close).start()
    open_append(path).close()


def test_open_append_names_a_forbidden_file(tmp_path):
    with pytest.raises(WriteError, match=f"cannot write {tmp_path}: Is a directory"):
        open_append(tmp_path)


WHOLE = "".join(json.dumps({"n": n, "text": "é\n" * n}, ensure_ascii=False) + "\n" for n in range(4)).encode()


@given(end=st.integers(0, len(WHOLE)))
def test_a_file_cut_anywhere_goes_on_with_whole_lines(tmp_path_factory, end):
    path = tmp_path_factory.mktemp("cut") / "x.jsonl"
    path.write_bytes(WHOLE[:end])
    # A line counts as soon as its closing brace stands there, with or without its newline.
    kept = WHOLE.count(b"}\n", 0, end + 1)
    with open_append(path) as file:
        append_lines(file, [{"n": 99}])
    problems: list[Problem] = []
    assert [row["n"] for row in read_jsonl(path, problems)] == [*range(kept), 99]
    assert problems == []


def test_a_torn_line_longer_than_a_block_is_cut_whole(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"n": 0}\n{"text": "' + b"x" * 200_000)
    open_append(path).close()
    assert path.read_bytes() == b'{"n": 0}\n'


def test_lines_survive_kill_9(tmp_path):
    path = tmp_path / "x.jsonl"

    def work():
        file = open_append(path)
        for n in range(5):
            append_lines(file, [{"n": n}])
        file.write(b'{"n": 5')
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work)[0] == signal.SIGKILL
    with open_append(path) as file:
        append_lines(file, [{"n": 5}])
    assert [row["n"] for row in rows(path)] == [0, 1, 2, 3, 4, 5]


# Shard


@given(size=st.integers(0, 50), jobs=st.integers(1, 20))
def test_shards_are_a_partition(size, jobs):
    parts = [Shard.parse(f"{job}/{jobs}").take(list(range(size))) for job in range(1, jobs + 1)]
    assert sorted(item for part in parts for item in part) == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "a/b", "1/4/5", "-1/4", " 1/4", "1/4\n", "²/4"])
def test_shard_names_value_and_form(text):
    with pytest.raises(ValueError, match="expected JOB/JOBS with 1 <= JOB <= JOBS, as in 3/16"):
        Shard.parse(text)


def test_shard_prints_as_it_is_written():
    assert str(Shard.parse("3/16")) == "3/16"
