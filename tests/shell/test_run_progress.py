"""utils/run.py while its jobs run: where the logs are, how far it is, what succeeded; and a GPU for each job."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.shells import ROOT

UTILS = ROOT / "utils"


def run(cwd: Path, *words: str, seconds_a_line: float | None = None) -> subprocess.CompletedProcess:
    """A call of run.py, whose lines of progress may come faster than every 30 s."""
    start = [str(UTILS / "run.py")]
    if seconds_a_line is not None:
        change = "import run, jobs.screen as screen, jobs.progress as progress; progress.FIRST_SECONDS = 0.0"
        change += f"; screen.LINE_SECONDS = {seconds_a_line}"
        start = ["-c", f"import sys; sys.path.insert(0, {str(UTILS)!r}); {change}; sys.exit(run.main())"]
    return subprocess.run([sys.executable, *start, *words], cwd=cwd, capture_output=True, text=True, timeout=30)


def test_without_a_terminal_lines_say_how_far_the_jobs_are_and_where_to_look(tmp_path):
    script = r"printf '\r 10%%\r\033[32m JOB0%%\033[0m'; sleep 1"
    count = "echo 7/20 rows"
    words = ["--progress-command", count, "--max-jobs-run", "2", "JOB=1:3", "log/x.JOB.log", "bash", "-c", script]
    lines = run(tmp_path, *words, seconds_a_line=0.3).stderr.splitlines()
    assert lines[0] == "run.py: 3 jobs, 2 at once; log: log/x.JOB.log"
    said = "run.py: x: 0/3 done, 2 running, 1 waiting, 7/20 rows, 1 s; log/x.1.log: 10%"
    assert said in [re.sub(r"\d+ s;", "1 s;", line) for line in lines]
    assert any(line.startswith("run.py: x: 2/3 done, 1 running, 7/20 rows, ") for line in lines)
    assert len(lines) < 12


def test_a_failure_is_named_at_once_and_counted(tmp_path):
    script = "if [[ JOB == 1 ]]; then exit 4; fi; sleep 1"
    lines = run(tmp_path, "JOB=1:2", "x.JOB.log", "bash", "-c", script, seconds_a_line=0.2).stderr.splitlines()
    assert lines[1] == "run.py: job 1 failed: exit code 4; log: x.1.log, which ends:"
    assert any(", 1 running, 1 failed, " in line for line in lines[2:])
    assert lines[-1] == "run.py: 1 / 2 jobs failed"


def test_short_jobs_are_two_lines(tmp_path):
    assert run(tmp_path, "x.log", "true").stderr.count("\n") == 2


def test_one_line_on_a_terminal(tmp_path):
    reader, writer = pty.openpty()
    words = [sys.executable, str(UTILS / "run.py"), "x.log", "bash", "-c", "echo at work; sleep 1.5"]
    call = subprocess.Popen(words, cwd=tmp_path, stderr=writer)
    os.close(writer)
    shown = b""
    while chunk := _read(reader):
        shown += chunk
    os.close(reader)
    assert call.wait(30) == 0
    assert re.search(rb"\r\x1b\[Kx: 0/1 done, 1 running, \d s; x\.log: at work", shown)
    assert re.search(rb"\r\x1b\[Krun\.py: 1 / 1 jobs done in \d s\r\n$", shown)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except OSError:  # the other end has closed it
        return b""


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        ("2/2 rows", 0, "1 / 1 jobs done in 0 s, 2/2 rows"),
        ("2/2 rows, 1 failed", 0, "2/2 rows, 1 failed"),
        ("2/2 rows, 2 failed", 1, "but nothing succeeded: 2/2 rows, 2 failed; see the logs"),
        ("many", 1, "--progress-command does not say DONE/EXPECTED: /"),
        ("' >&2; echo 'no cuts' >&2; echo '", 1, "; it says: no cuts"),
    ],
)
def test_what_is_there_is_counted_after_the_last_job(tmp_path, said, status, message):
    count = shlex.join(["bash", "-c", f"echo '{said}'"])
    result = run(tmp_path, "--progress-command", count, "x.log", "echo", "no such file")
    assert result.returncode == status
    assert message in result.stderr.splitlines()[1]
    assert result.stderr.endswith(": x.log, which ends:\n    no such file\n") == (status == 1)


def test_of_jobs_that_failed_nothing_is_counted(tmp_path):
    result = run(tmp_path, "--progress-command", "touch counted", "JOB=1:2", "x.JOB.log", "bash", "-c", "exit 3")
    assert result.returncode == 1
    assert result.stderr.endswith("2 / 2 jobs failed\n")


def test_each_running_job_has_a_gpu_of_its_own(tmp_path):
    script = "mkdir $CUDA_VISIBLE_DEVICES || exit 9; sleep 0.3; rmdir $CUDA_VISIBLE_DEVICES; echo $CUDA_VISIBLE_DEVICES"
    result = run(tmp_path, "--gpus", "GPU-a,GPU-b", "JOB=1:5", "log/x.JOB.log", "bash", "-c", script)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("run.py: 5 jobs, 2 at once, each with a GPU of its own; log: log/x.JOB.log\n")
    logs = [path.read_text() for path in (tmp_path / "log").iterdir()]
    seen = [re.search(r"^# Running on .*, CUDA_VISIBLE_DEVICES=(\S+)$", log, re.MULTILINE)[1] for log in logs]
    assert set(seen) == {"GPU-a", "GPU-b"}
    assert all(f"\n{gpu}\n" in log for gpu, log in zip(seen, logs, strict=True))


@pytest.mark.parametrize("name", ["run.py", "slurm.py", "tied.py", "gpus.py"])
def test_the_scripts_work_through_links_and_from_anywhere(tmp_path, name):
    (tmp_path / "first").symlink_to(UTILS / name)
    (tmp_path / "second").symlink_to("first")
    for env in ({}, {"PYTHONSAFEPATH": "1"}):
        words = [sys.executable, str(tmp_path / "second"), "--help"]
        result = subprocess.run(words, cwd="/", env={**os.environ, **env}, capture_output=True, text=True, timeout=30)
        assert (result.returncode, result.stderr) == (0, "")
        assert name.partition(".")[0] in result.stdout or name == "gpus.py"
