"""utils/slurm.py on a real Slurm of one node: what runs, what fails, and what is said about it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time

import pytest
from helpers.slurm_calls import NOTICED, Recipe, wait_for

# ---- what runs


def test_an_array_its_logs_and_its_environment(recipe):
    script = 'cat; echo "JOB/3 [$TOKENS] $OMP_NUM_THREADS ${CUDA_VISIBLE_DEVICES:-no}"; echo err >&2; printf end'
    options = [
        "--mem",
        "200M",
        "--gpu",
        "1",
        "--num-threads=2",
        "--time",
        "0:05:00",
        "--partition",
        "main",
        "--qos",
        "",
    ]
    result = recipe(*options, "JOB=2:4", "logs/deep/x.JOB.log", "bash", "-c", script, TOKENS="750")
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert re.fullmatch(r"slurm.py: 3 jobs submitted as \d+; log: logs/deep/x.JOB.log", result.stderr.splitlines()[0])
    assert result.stderr.endswith("slurm.py: 3 / 3 jobs done\n")
    assert sorted(path.name for path in (recipe.folder / "logs/deep").iterdir()) == [
        *(".slurm", "x.2.log", "x.3.log", "x.4.log")
    ]
    lines = recipe.read("logs/deep/x.3.log").splitlines()
    assert lines[0].startswith("# bash -c 'cat; echo \"3/3 [$TOKENS]")
    assert re.fullmatch(r"# Running on \S+, Slurm job \d+_3, restart 0", lines[1])
    assert re.fullmatch(r"# Started at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", lines[2])
    assert lines[3] == "#"
    assert re.fullmatch(r"3/3 \[750\] 2 [01]", lines[4])
    assert lines[5:7] == ["err", "end"]
    assert re.fullmatch(r"# Accounting: time=\d+s", lines[7])
    assert re.fullmatch(r"# Ended \(code 0\) at \S+", lines[8])
    assert len(lines) == 9


def test_arguments_reach_the_command_as_they_are(recipe):
    words = [
        "$(touch bad)",
        "a  b",
        "",
        "'",
        '"',
        "*",
        ";",
        "`id`",
        "\\n",
        "--echo",
        "two\nlines",
        "\r\n",
        "é",
        "JOB$JOB",
    ]
    folder = recipe.folder / "JOB 100% 'new'"  # a name like the variable's outside the log's is none
    folder.mkdir()
    inner = Recipe(folder, recipe.tool, recipe.env)
    show = "import sys, json; print(json.dumps(sys.argv[1:]))"
    result = inner("JOB=5", "log dir/x%a.JOB.log", sys.executable, "-c", show, *words)
    assert result.returncode == 0, result.stderr
    lines = [line for line in inner.read("log dir/x%a.5.log").splitlines() if not line.startswith("#")]
    assert json.loads(lines[0]) == [*words[:-1], "5$5"]
    assert not list(recipe.folder.rglob("bad"))


def test_a_single_command_and_an_absolute_log(recipe):
    log = recipe.folder / "elsewhere" / "x.log"
    assert recipe(str(log), "printf", "%s JOB", "one").returncode == 0
    assert "\none JOB\n" in log.read_text()
    result = recipe(str(log), "exit", "0")  # a builtin of the shell is no command, as with utils/run.py
    assert result.returncode == 1
    assert "the job (" in result.stderr
    assert "failed: exit code 127; log: elsewhere/x.log" in result.stderr
    assert "one" not in log.read_text()


def test_max_jobs_run(recipe):
    script = "mkdir running || exit 9; sleep 0.3; rmdir running"
    result = recipe("--max-jobs-run", "1", "JOB=1:3", "x.JOB.log", "bash", "-c", script)
    assert result.returncode == 0, result.stderr


# ---- what fails


def test_each_failure_is_noticed_and_named_with_the_end_of_its_log(recipe, cluster):
    """One task exits with 7, of two more the command and the whole task are killed, one is cancelled, one finishes."""
    script = """
    echo task JOB says so; date +%s.%N > when.JOB
    case JOB in
      1) exit 7 ;;
      2) kill -KILL $$ ;;
      3) kill -KILL $PPID $$ ;;
      4) exec sleep 60 ;;
      5) sleep 1; touch done ;;
    esac"""
    call = recipe.start("JOB=1:5", "log/x.JOB.log", "bash", "-c", script)
    wait_for((recipe.folder / "when.4").exists)
    number = re.search(r"submitted as (\d+)", call.stderr)[1]
    assert cluster.call("scancel", f"{number}_4") == ""
    (recipe.folder / "when.4").write_text(str(time.time()))
    assert call.end() == 1
    causes = {1: "exit code 7;", 2: "exit code 137 (signal 9, Killed);", 3: "exit code 137", 4: "Slurm says CANCELLED"}
    for job, cause in causes.items():
        assert re.search(rf"job {job} \({number}_{job} on \S+\) failed: .*{re.escape(cause)}", call.stderr), call.stderr
        assert f"log: log/x.{job}.log, which ends:\n    task {job} says so\n" in call.stderr
        assert call.time_of(f"job {job} (") - float(recipe.read(f"when.{job}")) < NOTICED
    assert call.stderr.count("which ends") == 4
    assert call.stderr.endswith("slurm.py: 4 / 5 jobs failed\n")
    assert (recipe.folder / "done").exists()
    assert "# Ended (code 7) at" in recipe.read("log/x.1.log")


def test_a_job_that_can_never_start_is_named_and_taken_from_the_queue(recipe, cluster):
    begin = time.time()
    call = recipe.start("--partition", "short", "--time", "2:00:00", "JOB=1:2", "x.JOB.log", "touch", "ran")
    assert call.end() == 1
    assert time.time() - begin < NOTICED
    assert "job 2 (" in call.stderr
    assert "failed: it can never start: Slurm says PartitionTimeLimit" in call.stderr
    assert not (recipe.folder / "ran").exists()
    number = re.search(r"submitted as (\d+)", call.stderr)[1]
    assert cluster.call("squeue", "-h", "-j", number) == ""


def test_a_job_that_waits_for_more_than_its_turn_is_remarked_and_waited_for(recipe, cluster):
    (recipe.folder / "slurm.conf").write_text("option held=* --hold\n")
    call = recipe.start("--config", "slurm.conf", "--held", "yes", "x.log", "true")
    wait_for(lambda: "pending: JobHeldUser" in call.stderr, NOTICED)
    number = re.search(r"submitted as (\d+)", call.stderr)[1]
    cluster.call("scontrol", "release", number)
    assert call.end() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mem", "999G", "x.log"], "no node has what --mem"),
        (["--partition", "nowhere", "x.log"], "the partitions are those of: sinfo -s"),
        (["JOB=1:2000", "x.JOB.log"], "MaxArraySize"),
        (["--depend", "99999", "x.log"], "--depend 99999: Slurm does not know this job"),
    ],
)
def test_what_slurm_refuses(recipe, words, message):
    result = recipe(*words, "true")
    assert result.returncode == 1
    assert message in result.stderr
    assert list(recipe.folder.rglob("*/run.json")) == []
    assert "Traceback" not in result.stderr


def test_only_failed_jobs_are_tried_again(recipe):
    script = "echo try >> tries.JOB; [[ JOB != 2 || $(wc -l < tries.2) == 3 ]]"
    result = recipe("--retries", "2", "JOB=1:3", "log/x.JOB.log", "bash", "-c", script)
    assert result.returncode == 0, result.stderr
    assert [recipe.read(f"tries.{job}").count("try") for job in (1, 2, 3)] == [1, 3, 1]
    assert result.stderr.count("job 2 (") == 2
    assert re.search(r"trying again: jobs 2 as job \d+\n", result.stderr)
    assert recipe.read("log/x.2.log").count("# Started at") == 3  # no try's log is lost

    result = recipe("--retries", "1", "JOB=1:2", "log/y.JOB.log", "bash", "-c", "exit JOB")
    assert result.returncode == 1
    assert result.stderr.endswith("2 / 2 jobs failed\n")
    assert result.stderr.count("failed: exit code 2") == 2


def test_a_rerun_completes_what_is_missing(recipe):
    """With a command that goes on where it was, which is all that a rerun needs."""
    script = "[[ -e row.JOB ]] && { echo kept; exit; }; [[ -e fixed || JOB != 2 ]] || exit 1; echo new | tee row.JOB"
    words = ["JOB=1:3", "log/x.JOB.log", "bash", "-c", script]
    assert recipe(*words).returncode == 1
    (recipe.folder / "fixed").touch()
    assert recipe(*words).returncode == 0
    said = [[line for line in recipe.read(f"log/x.{job}.log").splitlines() if line[0] != "#"] for job in (1, 2, 3)]
    assert said == [["kept"], ["new"], ["kept"]]
    assert len(list((recipe.folder / "log/.slurm").iterdir())) == 1  # the folder of the older call has gone


def test_rows_are_counted_after_the_array(recipe):
    """A command that was killed for memory may exit with 0: then a row is missing."""
    count = """bash -c 'echo "rows $(cat rows.* | wc -l)/3"'"""
    words = ["--progress-command", count, "JOB=1:3", "x.JOB.log", "bash", "-c"]
    result = recipe(*words, "[[ JOB == 2 ]] || echo row > rows.JOB")
    assert result.returncode == 1
    assert "3 / 3 jobs done, but only rows 2/3" in result.stderr
    result = recipe(*words, "echo row > rows.JOB")
    assert result.returncode == 0
    assert result.stderr.endswith("3 / 3 jobs done, rows 3/3\n")
    late = """bash -c 'echo >> asked; echo "$(cat asked | wc -l)/2 rows"'"""  # as on a slow shared file system
    assert recipe("--progress-command", late, "x.log", "bash", "-c", "sleep 1; rm -f asked").returncode == 0
    result = recipe("--progress-command", "echo many", "x.log", "true")
    assert result.returncode == 1
    assert "--progress-command does not say DONE/EXPECTED: /" in result.stderr


def test_one_line_of_progress_on_a_terminal(recipe):
    reader, writer = pty.openpty()
    count = "bash -c 'cat rows.* | wc -l | sed s:$:/2:'"
    script = "echo row > rows.JOB; while [[ ! -e go ]]; do sleep 0.1; done"
    words = [
        sys.executable,
        str(recipe.tool),
        "--progress-command",
        count,
        "JOB=1:2",
        "x.JOB.log",
        "bash",
        "-c",
        script,
    ]
    call = subprocess.Popen(words, cwd=recipe.folder, env=recipe.env, stderr=writer)
    os.close(writer)
    shown = b""
    while chunk := _read(reader):
        shown += chunk
        if re.search(rb"\r\x1b\[Kx \d+: 0/2 done, 2 running", shown):
            (recipe.folder / "go").touch()
    os.close(reader)
    assert call.wait(30) == 0
    assert (recipe.folder / "go").exists()
    assert re.search(rb"\r\x1b\[Kslurm.py: 2 / 2 jobs done, 2/2\r\n$", shown)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except OSError:  # the other end has closed it
        return b""


def test_a_silent_controller_does_not_end_a_call(recipe):
    fake = recipe.folder / "bin" / "scontrol"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n")
    fake.chmod(0o755)
    result = recipe("JOB=1:2", "x.JOB.log", "sleep", "3", PATH=f"{fake.parent}:{recipe.env['PATH']}")
    assert result.returncode == 0
    assert "Slurm's controller does not answer" in result.stderr
