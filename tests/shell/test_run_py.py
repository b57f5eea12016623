"""utils/run.py: logs, exit statuses, and that no job outlives it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.shells import ROOT, alive, pids_in, wait_for

RUN_PY = ROOT / "utils" / "run.py"


def run(cwd: Path, *words: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, str(RUN_PY), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30, **options)


def test_log_holds_command_host_output_and_end(tmp_path):
    result = run(tmp_path, "logs/deep/x.log", "bash", "-c", "echo out; echo err >&2")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "run.py: 1 job; log: logs/deep/x.log\nrun.py: 1 / 1 jobs done in 0 s\n"
    lines = (tmp_path / "logs/deep/x.log").read_text().splitlines()
    assert lines[0] == "# bash -c 'echo out; echo err >&2'"
    assert lines[1] == f"# Running on {os.uname().nodename}"
    assert re.fullmatch(r"# Started at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", lines[2])
    assert lines[3:6] == ["#", "out", "err"]
    assert re.fullmatch(r"# Accounting: time=\d+\.\ds", lines[6])
    assert re.fullmatch(r"# Ended \(code 0\) at \S+", lines[7])
    assert len(lines) == 8


def test_the_head_of_a_log_is_comment_even_for_a_command_of_several_lines(tmp_path):
    run(tmp_path, "x.log", "bash", "-c", "echo out\ntrue")
    assert [line for line in (tmp_path / "x.log").read_text().splitlines() if not line.startswith("#")] == ["out"]


def test_a_log_starts_fresh(tmp_path):
    run(tmp_path, "x.log", "echo", "first")
    run(tmp_path, "x.log", "echo", "second")
    assert "first" not in (tmp_path / "x.log").read_text()


def test_the_job_number_is_replaced_everywhere(tmp_path):
    result = run(tmp_path, "JOB=2:4", "log/x.JOB.log", "echo", "--job", "JOB/4", "aJOBbJOB")
    assert result.returncode == 0
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == ["x.2.log", "x.3.log", "x.4.log"]
    assert "\n--job 3/4 a3b3\n" in (tmp_path / "log/x.3.log").read_text()


def test_one_numbered_job(tmp_path):
    assert run(tmp_path, "N=7", "x.N.log", "echo", "N", "JOB").returncode == 0
    assert "\n7 JOB\n" in (tmp_path / "x.7.log").read_text()


def test_arguments_reach_the_command_as_they_are(tmp_path):
    words = ["$(touch bad)", "a  b", "", "'", "*", ";", "--echo"]
    run(tmp_path, "x.log", sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)
    assert str(words) in (tmp_path / "x.log").read_text()
    assert not (tmp_path / "bad").exists()


def test_stdin_is_empty_and_the_environment_passes(tmp_path):
    run(tmp_path, "x.log", "bash", "-c", 'cat; echo "[$TOKENS]"', input="typed", env={**os.environ, "TOKENS": "750"})
    text = (tmp_path / "x.log").read_text()
    assert "[750]" in text
    assert "typed" not in text


def test_a_failing_job_is_named_with_the_end_of_its_log_and_the_others_finish(tmp_path):
    script = "for i in {1..20}; do echo line $i; done; if [[ JOB == 2 ]]; then exit 7; fi; sleep 0.2; touch done.JOB"
    result = run(tmp_path, "JOB=1:3", "log/x.JOB.log", "bash", "-c", script)
    assert result.returncode == 1
    assert "job 2 failed: exit code 7; log: log/x.2.log" in result.stderr
    shown = re.findall(r"^ +(line \d+)$", result.stderr, re.MULTILINE)
    assert shown == [f"line {number}" for number in range(6, 21)]  # the last 15
    assert "1 / 3 jobs failed" in result.stderr
    assert "job 1" not in result.stderr
    assert (tmp_path / "done.1").exists()
    assert (tmp_path / "done.3").exists()
    assert "# Ended (code 7) at" in (tmp_path / "log/x.2.log").read_text()


def test_of_a_progress_bar_the_tail_shows_the_last_state(tmp_path):
    result = run(tmp_path, "x.log", "bash", "-c", r"printf '\r10%%\r20%%\r30%%\nbroken\n'; exit 1")
    assert "    30%\n    broken\n" in result.stderr
    assert "20%" not in result.stderr


def test_a_job_killed_by_a_signal_is_reported(tmp_path):
    result = run(tmp_path, "x.log", "bash", "-c", "printf unfinished; kill -KILL $$")
    assert result.returncode == 1
    assert "the job failed: killed by signal 9 (Killed); log: x.log" in result.stderr
    text = (tmp_path / "x.log").read_text()
    assert re.search(
        r"^unfinished\n# Accounting.*\n# Ended \(code 137\) at \S+, killed by signal 9", text, re.MULTILINE
    )


def test_a_command_that_does_not_exist(tmp_path):
    result = run(tmp_path, "JOB=1:2", "x.JOB.log", "no-such-command", "a")
    assert result.returncode == 1
    assert "job 1 failed: cannot start no-such-command" in result.stderr
    assert "2 / 2 jobs failed" in result.stderr
    assert "# Ended (code 127)" in (tmp_path / "x.1.log").read_text()


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    result = run(tmp_path, "file/x.log", "touch", "ran")
    assert result.returncode == 1
    assert "file/x.log" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2, 2), (None, 4)])
def test_max_jobs_run(tmp_path, limit, expected):
    script = (
        "import os, sys, time\n"
        "open('on.JOB', 'w').close()\n"
        "time.sleep(0.3)\n"
        "print('together', sum(n.startswith('on.') for n in os.listdir()))\n"
        "time.sleep(0.3)\n"
        "os.remove('on.JOB')\n"
    )
    words = [] if limit is None else ["--max-jobs-run", str(limit)]
    assert run(tmp_path, *words, "JOB=1:4", "log/x.JOB.log", sys.executable, "-S", "-c", script).returncode == 0
    logs = [path.read_text() for path in (tmp_path / "log").iterdir()]
    together = [int(re.search(r"^together (\d+)", log, re.MULTILINE)[1]) for log in logs]
    assert len(together) == 4
    assert max(together) == expected


def test_echo_shows_the_first_job_alone(tmp_path):
    result = run(tmp_path, "--echo", "JOB=1:2", "x.JOB.log", "bash", "-c", "echo from JOB; sleep 0.1; printf end-JOB")
    assert result.stderr.splitlines()[1:-1] == ["from 1", "end-1"]
    assert "\nfrom 1\nend-1\n# Acc" in (tmp_path / "x.1.log").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a log file and a command"),
        (["JOB=1:2", "x.JOB.log"], "give a log file and a command"),
        (["JOB=1:2", "x.log", "true"], "log 'x.log' does not contain JOB"),
        (["JOB=a:2", "x.JOB.log", "true"], "'JOB=a:2' is not a range of jobs"),
        (["JOB=3:1", "x.JOB.log", "true"], "'JOB=3:1' is not a range of jobs"),
        (["--max-jobs-run", "0", "x.log", "true"], "--max-jobs-run: 0"),
        (["--gpu", "1", "x.log", "true"], "--gpu"),
        (["--progress-command", "count 'rows", "x.log", "true"], "--progress-command: No closing quotation"),
    ],
)
def test_wrong_usage(tmp_path, words, message):
    result = run(tmp_path, *words)
    assert result.returncode == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


# A job that starts a process of its own; both say who they are.
FAMILY = "sleep 60 & echo $! $$ >> pids; wait"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_all_jobs_and_what_they_started(tmp_path, number, status):
    words = [sys.executable, str(RUN_PY), "JOB=1:2", "x.JOB.log", "bash", "-c", FAMILY]
    runner = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    pids = pids_in(tmp_path / "pids", 4)
    runner.send_signal(number)
    _, stderr = runner.communicate(timeout=20)
    assert runner.returncode == status
    assert f"stopped by {number.name}" in stderr
    wait_for(lambda: not any(map(alive, pids)), 2)
    assert "# Ended (code 143)" in (tmp_path / "x.1.log").read_text()


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace_time(tmp_path):
    start = f"import sys; sys.path.insert(0, {str(RUN_PY.parent)!r}); import run, jobs.processes as processes; "
    words = [sys.executable, "-c", start + "processes.GRACE_SECONDS = 0.3; sys.exit(run.main(sys.argv[1:]))"]
    stubborn = "trap '' TERM; echo $$ > pids; while true; do sleep 0.1; done"
    runner = subprocess.Popen([*words, "x.log", "bash", "-c", stubborn], cwd=tmp_path, stderr=subprocess.PIPE)
    (pid,) = pids_in(tmp_path / "pids", 1)
    runner.terminate()
    runner.communicate(timeout=20)
    assert runner.returncode == 143
    assert not alive(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_jobs_die_with_a_runner_that_is_killed_hard(tmp_path):
    words = [sys.executable, str(RUN_PY), "x.log", "bash", "-c", "echo $$ > pids; exec sleep 60"]
    runner = subprocess.Popen(words, cwd=tmp_path)
    (pid,) = pids_in(tmp_path / "pids", 1)
    runner.kill()
    runner.wait()
    wait_for(lambda: not alive(pid), 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_die_with_parent(tmp_path):
    words = [sys.executable, str(RUN_PY), "--die-with-parent", "x.log", "bash", "-c", FAMILY]
    parent = subprocess.Popen(["bash", "-c", '"$@"; true', "parent", *words], cwd=tmp_path)
    pids = pids_in(tmp_path / "pids", 2)
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(map(alive, pids)))
    wait_for(lambda: "# Ended (code 143)" in (tmp_path / "x.log").read_text())
