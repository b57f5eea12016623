"""utils/slurm.py on a real Slurm: preemption, time limits, signals, and calls at the same time."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest
from helpers.slurm_calls import NOTICED, Recipe, Started, detach, wait_for
from helpers.slurm_cluster import Cluster


@pytest.fixture(scope="module", autouse=True)
def limited(tmp_path_factory, tool, cluster) -> Iterator[Recipe]:
    """A call whose job reaches its time limit, which Slurm looks at twice a minute: it goes on beside the other tests.

    The limit of a minute is less than the 90 s of the warning, which so comes at the first look.
    """
    recipe = Recipe(tmp_path_factory.mktemp("limited"), tool, cluster.env)
    recipe.start("--requeue", "--partition", "short", "--time", "1", "x.log", sys.executable, "-c", WORKER, "1")
    yield recipe
    recipe.stop()


# ---- preemption and time limits

GRACE = 5.0  # seconds between the warning and the end of a job in the partition main

WORKER = """
import os, signal, sys, time
def warned(number, frame):
    print("warned, rows are saved", flush=True)
    sys.exit(75)
if sys.argv[1] == "1":  # the other task does not know the signal, and dies of it
    signal.signal(signal.SIGUSR1, warned)
open(f"start.{sys.argv[1]}", "a").write("x")
while not os.path.exists("go"):
    time.sleep(0.1)
print("finished after", os.environ.get("SLURM_RESTART_COUNT", "0"), "restarts")
"""


def test_a_preempted_job_is_requeued_and_finishes(recipe, cluster):
    worker = [sys.executable, "-c", WORKER, "JOB"]
    call = recipe.start("--requeue", "--gpu", "1", "JOB=1:2", "log/x.JOB.log", *worker)
    sudden = recipe.start("--partition", "sudden", "--gpu", "1", "JOB=3", "log/x.JOB.log", *worker)
    wait_for(lambda: len(list(recipe.folder.glob("start.*"))) == 3)
    later = detach(recipe, "--depend", re.search(r"submitted as (\d+)", call.stderr)[1], "log/later.log", "true")
    high = preempt(cluster)
    wait_for(lambda: all(recipe.read(f"log/x.{job}.log").count("# To be started again") for job in (1, 2)))
    wait_for(lambda: call.stderr.count("interrupted") == 2 and "interrupted" in sudden.stderr)
    (recipe.folder / "go").touch()
    for each in (call, sudden):
        assert each.end() == 0, each.stderr
        assert "failed" not in each.stderr
    for job, each in ((1, call), (2, call), (3, sudden)):
        # By then the log may have gone on: what it ends with is one of two.
        said = (
            rf"job {job} \([^)]+\) was interrupted and starts again \(restart 1\); log: log/x\.{job}\.log, which ends:"
        )
        assert re.search(said, each.stderr)
        assert each.time_of(f"job {job} (") - high < (GRACE if each is call else 0) + NOTICED
    assert "finished after 1 restarts" in recipe.read("log/x.3.log")
    wait_for(
        lambda: f"{later}: 1 done" in recipe("status").stdout
    )  # a requeued job has not failed for one that depends
    for job in (1, 2):
        log = recipe.read(f"log/x.{job}.log")
        assert "finished after 1 restarts" in log
        assert f"# Ended (code {75 if job == 1 else 138}) at" in log  # the first start's log is kept
        assert log.rstrip().splitlines()[-1].startswith("# Ended (code 0) at")
    assert "warned, rows are saved" in recipe.read("log/x.1.log")


def preempt(cluster: Cluster) -> float:
    """A job of another user who matters more takes all GPUs; returns when it has them."""
    words = ["--parsable", "--partition", "high", "--gres=gpu:3", "--output=/dev/null", "--wrap", "sleep 1"]
    job = wait_for(lambda: cluster.call("sbatch", *words).strip())  # a busy controller may refuse
    wait_for(
        lambda: cluster.call("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip() not in ("", "PENDING"), 90
    )
    return time.time()


def test_a_preempted_job_that_may_not_start_again_is_named(recipe, cluster):
    (recipe.folder / "slurm.conf").write_text("option once=yes --no-requeue\n")
    words = [
        "--config",
        "slurm.conf",
        "--once",
        "yes",
        "--partition",
        "sudden",
        "--gpu",
        "1",
        "JOB=1:2",
        "log/x.JOB.log",
        "bash",
        "-c",
    ]
    call = recipe.start(*words, "echo task JOB says so; touch on.JOB; exec sleep 600")
    wait_for(lambda: len(list(recipe.folder.glob("on.*"))) == 2)
    high = preempt(cluster)
    assert call.end() == 1
    for job in (1, 2):
        assert re.search(rf"job {job} \(\S+ on \S+\) failed: .*Slurm says PREEMPTED", call.stderr), call.stderr
        assert f"log: log/x.{job}.log, which ends:\n    task {job} says so\n" in call.stderr
        assert call.time_of(f"job {job} (") - high < NOTICED


def test_a_job_that_asks_is_started_again_and_the_others_go_on(recipe):
    """The one whose own id is also that of the array: a request in that name would hit all."""
    script = """
    echo start >> starts.PART
    [[ $SLURM_JOB_ID != "$SLURM_ARRAY_JOB_ID" || $(wc -l < starts.PART) == 2 ]] || exit 75
    while [[ $(cat starts.* | wc -l) -lt 3 ]]; do sleep 0.1; done"""
    result = recipe("--requeue", "PART=1:2", "x.PART.log", "bash", "-c", script)
    assert result.returncode == 0, result.stderr
    assert sorted(recipe.read(f"starts.{job}").count("start") for job in (1, 2)) == [1, 2]


def test_a_cancelled_job_is_not_requeued(recipe, cluster):
    script = "trap 'exit 75' TERM; touch on; while sleep 0.1; do :; done"
    call = recipe.start("--requeue", "x.log", "bash", "-c", script)
    wait_for((recipe.folder / "on").exists)
    cluster.call("scancel", re.search(r"submitted as (\d+)", call.stderr)[1])
    assert call.end() == 1
    assert "Slurm says CANCELLED" in call.stderr


# ---- signals, and calls at the same time -----------------------------------------------------------------------------

FAMILY = "sleep 60 & touch on.JOB; wait $!"


def jobs_of(cluster: Cluster, call: Started) -> str:
    number = re.search(r"submitted as (\d+)", call.stderr)[1]
    return cluster.call("squeue", "-h", "-j", number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_job_behind(recipe, cluster, number, status):
    words = ["--max-jobs-run", "2", "JOB=1:3", "x.JOB.log", "bash", "-c", FAMILY]
    call = recipe.start(*words)
    wait_for(lambda: (recipe.folder / "on.1").exists() and (recipe.folder / "on.2").exists())
    call.process.send_signal(number)
    assert call.end(20) == status
    assert f"stopped by {number.name}; job" in call.stderr
    assert jobs_of(cluster, call) == ""
    wait_for(lambda: not [command for _, command in cluster.processes() if "sleep 60" in command], 5)
    assert recipe("status").stdout.count("Slurm says CANCELLED") == 3
    assert recipe("JOB=1:3", "x.JOB.log", "true").returncode == 0  # the logs are free again


def test_a_call_that_was_killed_is_told_apart_and_its_jobs_are_found(recipe, cluster):
    words = ["JOB=1:2", "log/x.JOB.log", "bash", "-c", FAMILY]
    call = recipe.start(*words)
    wait_for((recipe.folder / "on.1").exists)
    call.process.kill()
    call.end()
    number = re.search(r"submitted as (\d+)", call.stderr)[1]
    again = recipe(*words)
    assert again.returncode == 1
    assert f"an earlier call still writes log/x.1.log: job {number}_1" in again.stderr
    assert f"scancel {number}" in again.stderr
    assert recipe("log/other.log", "true").returncode == 0
    cluster.call("scancel", number)
    wait_for(lambda: not jobs_of(cluster, call))
    assert recipe("JOB=1:2", "log/x.JOB.log", "true").returncode == 0


def test_die_with_parent(recipe, cluster):
    words = [sys.executable, str(recipe.tool), "--die-with-parent", "x.log", "bash", "-c", FAMILY]
    call = Started(["bash", "-c", '"$@"; true', "parent", *words], recipe.folder, recipe.env)
    wait_for((recipe.folder / "on.JOB").exists)
    call.process.kill()
    wait_for(lambda: "stopped by SIGTERM" in call.stderr)
    assert jobs_of(cluster, call) == ""


def test_two_recipes_at_once_do_not_mix(recipe, tool, cluster, tmp_path_factory):
    """Two in one folder with the same name of a job, and one in another folder with the same log."""
    other = Recipe(tmp_path_factory.mktemp("other"), tool, cluster.env)
    script = 'echo "$1 JOB"; sleep 0.5; [[ $1 != second ]]'
    calls = [
        recipe.start("JOB=1:2", "log/decode.JOB.log", "bash", "-c", script, "-", "first"),
        recipe.start("JOB=1:2", "log/decodeJOB.log", "bash", "-c", script, "-", "second"),
        other.start("JOB=1:2", "log/decode.JOB.log", "bash", "-c", script, "-", "third"),
    ]
    assert [call.end() for call in calls] == [0, 1, 0]
    for job in (1, 2):
        assert f"\nfirst {job}\n" in recipe.read(f"log/decode.{job}.log")
        assert f"\nsecond {job}\n" in recipe.read(f"log/decode{job}.log")
        assert f"\nthird {job}\n" in other.read(f"log/decode.{job}.log")
    assert "2 / 2 jobs failed" in calls[1].stderr
    assert len(list((recipe.folder / "log/.slurm").iterdir())) == 2


def test_a_job_that_was_warned_of_its_time_limit_is_requeued(limited):
    wait_for(lambda: "# To be started again" in limited.read("x.log"), 60)
    (limited.folder / "go").touch()
    call = limited.started[0]
    assert call.end() == 0, call.stderr
    assert "warned, rows are saved" in limited.read("x.log")
    assert re.search("finished after [1-9] restarts", limited.read("x.log"))
