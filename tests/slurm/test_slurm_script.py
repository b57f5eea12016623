"""utils/slurm.py where there is no Slurm: scripts, settings, wrong words, and what records of Slurm mean."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.slurm_calls import UTILS, Recipe


def test_status_of_nothing_and_of_no_folder(offline):
    assert "no arrays below this folder" in offline("status").stdout
    result = offline("status", "nowhere")
    assert result.returncode == 2
    assert "there is no folder 'nowhere'" in result.stderr


# ---- without a cluster


def test_a_dry_run_prints_the_script_and_does_nothing(offline):
    words = ["--mem", "4G", "--gpu", "1", "--num-threads", "2", "--time", "1:00:00", "--max-jobs-run", "8", "--requeue"]
    words += ["--partition", "p", "--account", "a", "--qos", "q", "--constraint", "c", "--depend", "12,13"]
    result = offline("--dry-run", *words, "JOB=1:16", "log/decode.JOB.log", "speechprune", "decode", "--job", "JOB/16")
    assert (result.returncode, result.stderr) == (0, "")
    head, _, body = result.stdout.partition("\n\n")
    assert head.splitlines() == [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {flag}" for flag in ("--export=ALL", "--job-name=decode", "--mem=4G", "--gres=gpu:1")),
        *(f"#SBATCH {flag}" for flag in ("--cpus-per-task=2", "--time=1:00:00", "--partition=p", "--account=a")),
        *(f"#SBATCH {flag}" for flag in ("--qos=q", "--constraint=c", "--requeue", "--signal=B:USR1@90")),
        *(f"#SBATCH {flag}" for flag in ("--dependency=afterok:12:13", "--kill-on-invalid-dep=yes")),
        *(f"#SBATCH {flag}" for flag in ("--array=1-16%8", f"--chdir={offline.folder}")),
        *(f"#SBATCH {flag}" for flag in (f"--output={offline.folder}/log/decode.%a.log", "--open-mode=append")),
    ]
    assert 'exec -- speechprune decode --job "$job"/16 </dev/null &' in body
    assert list(offline.folder.iterdir()) == []
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    check = [shellcheck, "-"] if shellcheck else ["bash", "-n"]
    assert subprocess.run(check, input=result.stdout, capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a log file and a command"),
        (["JOB=1:2", "x.JOB.log"], "give a log file and a command"),
        (["JOB=1:2", "x.log", "true"], "log 'x.log' does not contain JOB"),
        (["JOB=a:2", "x.JOB.log", "true"], "'JOB=a:2' is not a range of jobs"),
        (["JOB=3:1", "x.JOB.log", "true"], "'JOB=3:1' is not a range of jobs"),
        (["--max-jobs-run", "0", "x.log", "true"], "--max-jobs-run: '0'"),
        (["--retries", "-1", "x.log", "true"], "--retries: '-1'"),
        (["--detach", "--retries", "1", "x.log", "true"], "--retries needs a call that waits"),
        (["--progress-command", "count 'rows", "x.log", "true"], "--progress-command: No closing quotation"),
        (["--gpus", "1", "x.log", "true"], "--gpus is unknown; the valid options are: --account "),
        (["--requeue=true", "x.log", "true"], "--requeue takes no value"),
        (["--mem"], "--mem has no value"),
        (["--depend", "decode", "x.log", "true"], "--depend: 'decode' is not the id of a job"),
        (["--config", "none.conf", "x.log", "true"], "cannot read none.conf"),
        (["--dry-run", "a\\b.log", "true"], "holds a backslash"),
    ],
)
def test_wrong_usage(offline, words, message):
    result = offline(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert list(offline.folder.iterdir()) == []


def test_where_there_is_no_slurm(offline):
    result = offline("log/x.log", "true")
    assert result.returncode == 1
    assert "cannot start sbatch: No such file or directory; is this a machine of the cluster?" in result.stderr
    assert list(offline.folder.rglob("run.json")) == []


def directives(recipe: Recipe, *words: str) -> list[str]:
    result = recipe("--dry-run", *words, "x.log", "python", "a.py")
    assert result.returncode == 0, result.stderr
    return re.findall(r"^#SBATCH (.*)$", result.stdout, re.MULTILINE) + re.findall(
        r"^exec.*|^module.*", result.stdout, re.M
    )


def test_settings_of_the_user_of_the_checkout_and_of_a_call(offline):
    (offline.folder / "config" / "speechprune").mkdir(parents=True)
    (offline.folder / "config" / "speechprune" / "slurm.conf").write_text(
        "# mine\ndefault partition=cpu\noption mem=* --mem-per-cpu=$0\nsetup module load cuda\n"
    )
    local = offline.tool.parents[1] / "local" / "slurm.conf"
    local.parent.mkdir()
    local.write_text("default partition=site # this checkout's\nprefix apptainer exec 'my image.sif'\n")
    # As in ESPnet's recipes.
    (offline.folder / "my.conf").write_text(
        "command sbatch --export=PATH\noption gpu=* -p gpu --gres=gpu:$0 -c $0  # cores\noption fast=yes --nice=0\n"
    )
    try:
        found = directives(offline, "--mem", "2G")
        assert {"--partition=site", "--mem-per-cpu=2G", "--export=ALL", "module load cuda"} <= set(found)
        assert "--mem=2G" not in found
        assert "exec -- apptainer exec 'my image.sif' python a.py </dev/null &" in found
        found = directives(offline, "--config", "my.conf", "--gpu", "2", "--fast", "yes", "--partition", "p")
        assert {"--export=PATH", "-p gpu", "--gres=gpu:2", "-c 2", "--nice=0", "--partition=p"} <= set(found)
        result = offline("--config", "my.conf", "--fast", "no", "x.log", "true")
        assert "--fast: slurm.conf has no line for 'no'; the valid values are: yes" in result.stderr
        (offline.folder / "my.conf").write_text("\noptoin mem=1\n")
        result = offline("--config", "my.conf", "x.log", "true")
        assert result.returncode == 2
        assert "my.conf:2: expected command, option NAME=VALUE" in result.stderr
        (offline.folder / "my.conf").write_text("default partiton=gpu\n")
        result = offline("--config", "my.conf", "x.log", "true")
        assert "default partiton=gpu has no line: option partiton=* ..." in result.stderr
    finally:
        shutil.rmtree(local.parent)


@pytest.fixture(scope="module")
def modules() -> SimpleNamespace:
    """The modules behind utils/slurm.py."""
    sys.path.insert(0, str(UTILS))
    names = ("array", "call", "controller", "screen", "watch", "words")
    found = {name: importlib.import_module(f"jobs.{name}") for name in names}
    sys.path.remove(str(UTILS))
    return SimpleNamespace(**found)


def test_numbers_as_slurm_writes_them(modules):
    words = modules.words
    assert words.spans([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert words.numbers_of("1-7:3,9,11-12%2") == [1, 4, 7, 9, 11, 12]


@pytest.mark.parametrize(
    ("code", "restarts", "record", "expected"),
    [
        (None, 0, {"JobState": "RUNNING"}, ("running", "")),
        (7, 0, {"JobState": "COMPLETING"}, ("running", "")),  # its cause is about to be known
        (
            143,
            0,
            {"JobState": "TIMEOUT", "Reason": "TimeLimit"},
            ("failed", "Slurm says TIMEOUT (TimeLimit, give more"),
        ),
        (None, 0, {"JobState": "OUT_OF_MEMORY", "ExitCode": "0:125"}, ("failed", "give more --mem")),
        (None, 0, {"JobState": "NODE_FAIL", "Reason": "NodeDown", "ExitCode": "1:0"}, ("failed", "its node failed")),
        (143, 0, {"JobState": "PENDING", "Restarts": "1", "Reason": "BeginTime"}, ("pending", "BeginTime")),
        (143, 0, {"JobState": "COMPLETING", "Restarts": "1"}, ("running", "")),
        (143, 0, {"JobState": "RUNNING", "Restarts": "1"}, ("running", "")),
        (None, 0, {"JobState": "PENDING", "Reason": "QOSMaxCpuPerJobLimit"}, ("failed", "can never start")),
        (None, 0, {"JobState": "PENDING", "Reason": "QOSMaxJobsPerUserLimit"}, ("pending", "QOSMaxJobsPerUserLimit")),
        (None, 0, {"JobState": "COMPLETED", "EndTime": "2020-01-01T00:00:00"}, ("failed", "no exit code came")),
        (None, 0, {}, ("failed", "Slurm does not know it any more")),
        (9, 0, {}, ("failed", "exit code 9")),
    ],
)
def test_what_a_record_of_slurm_means(modules, code, restarts, record, expected):
    verdict = modules.controller.judge(code, restarts, record, settled="Restarts" in record)
    assert verdict[0] == expected[0]
    assert expected[1] in verdict[1]


def test_an_exit_file_that_is_late_is_waited_for(modules):
    record = {"JobState": "COMPLETED", "EndTime": time.strftime("%Y-%m-%dT%H:%M:%S")}
    assert modules.controller.judge(None, 0, record, settled=False)[0] == "running"


def test_many_interrupted_jobs_are_few_lines(modules, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    call = modules.call.parse(["JOB=1:500", "x.JOB.log", "true"])
    run = modules.array.Run.create(call.job, [])
    watch = modules.watch.Watch(call, run, [], modules.screen.Screen("slurm.py"))
    for restarts in (1, 1, 2):
        watch.tasks = [
            modules.array.Task(job, "pending", "BeginTime", f"7_{job}", restarts=restarts)
            for job in (*range(1, 401), 500)
        ]
        watch.report(silent=False)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("slurm.py: ")]
    assert len(lines) == 10 + 1 + 1
    assert lines[0].startswith("slurm.py: job 1 (7_1) was interrupted and starts again (restart 1); log: x.1.log")
    assert lines[10:] == [
        f"slurm.py: jobs {jobs} were interrupted and start again" for jobs in ("11-400,500", "1-400,500")
    ]
