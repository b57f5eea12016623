"""utils/slurm.py on a real Slurm of one node: failures are noticed and named, nothing is left behind or mixed up."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, cluster  # noqa: F401

UTILS = Path(__file__).parents[1] / "utils"
NOTICED = 15.0  # seconds within which a failure is named


@pytest.fixture(scope="session")
def tool(tmp_path_factory) -> Path:
    """utils/slurm.py in a checkout without settings of a site."""
    utils = tmp_path_factory.mktemp("checkout") / "utils"
    shutil.copytree(UTILS, utils, ignore=shutil.ignore_patterns("__pycache__"))
    return utils / "slurm.py"


class Recipe:
    """A folder in which utils/slurm.py is called."""

    def __init__(self, folder: Path, tool: Path, env: dict[str, str]) -> None:
        self.folder, self.tool = folder, tool
        self.env = env | {"XDG_CONFIG_HOME": str(folder / "config")}
        self.env.pop("OMP_NUM_THREADS", None)
        self.started: list[Started] = []

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(self.tool), *words]
        options = {"cwd": self.folder, "env": self.env | env, "stdin": subprocess.DEVNULL, "timeout": 60}
        return subprocess.run(command, capture_output=True, text=True, **options)

    def start(self, *words: str) -> Started:
        self.started.append(Started([sys.executable, str(self.tool), *words], self.folder, self.env))
        return self.started[-1]

    def stop(self) -> None:
        """End what a failed test has left."""
        for call in self.started:
            call.process.terminate()
        for call in self.started:
            call.end()

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


class Started:
    """A call under way; the time of each line on its stderr is kept."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
        self.lines: list[tuple[float, str]] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stderr:
            self.lines.append((time.time(), line))

    @property
    def stderr(self) -> str:
        return "".join(line for _, line in self.lines)

    def end(self, seconds: float = 60) -> int:
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code

    def time_of(self, text: str) -> float:
        return next(moment for moment, line in self.lines if text in line)


def wait_for(condition, seconds: float = 30.0):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)
    return result


@pytest.fixture
def recipe(tmp_path, tool, cluster, limited) -> Iterator[Recipe]:  # noqa: F811
    recipe = Recipe(tmp_path, tool, cluster.env)
    yield recipe
    recipe.stop()


@pytest.fixture(scope="module")
def limited(tmp_path_factory, tool, cluster) -> Iterator[Recipe]:  # noqa: F811
    """A call whose job reaches its time limit, which Slurm looks at twice a minute: it goes on beside the other tests.

    The limit of a minute is less than the 90 s of the warning, which so comes at the first look.
    """
    recipe = Recipe(tmp_path_factory.mktemp("limited"), tool, cluster.env)
    recipe.start("--requeue", "--partition", "short", "--time", "1", "x.log", sys.executable, "-c", WORKER, "1")
    yield recipe
    recipe.stop()


@pytest.fixture
def offline(tmp_path, tool) -> Recipe:
    """Without any Slurm."""
    return Recipe(tmp_path, tool, {"PATH": os.defpath})


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


def test_each_failure_is_noticed_and_named_with_the_end_of_its_log(recipe, cluster):  # noqa: F811
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


def test_a_job_that_can_never_start_is_named_and_taken_from_the_queue(recipe, cluster):  # noqa: F811
    begin = time.time()
    call = recipe.start("--partition", "short", "--time", "2:00:00", "JOB=1:2", "x.JOB.log", "touch", "ran")
    assert call.end() == 1
    assert time.time() - begin < NOTICED
    assert "job 2 (" in call.stderr
    assert "failed: it can never start: Slurm says PartitionTimeLimit" in call.stderr
    assert not (recipe.folder / "ran").exists()
    number = re.search(r"submitted as (\d+)", call.stderr)[1]
    assert cluster.call("squeue", "-h", "-j", number) == ""


def test_a_job_that_waits_for_more_than_its_turn_is_remarked_and_waited_for(recipe, cluster):  # noqa: F811
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
    result = recipe("--progress-command", "echo many", "x.log", "true")
    assert result.returncode == 1
    assert "--progress-command does not say DONE/EXPECTED: echo many" in result.stderr


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


# ---- preemption and time limits

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


def test_a_preempted_job_is_requeued_and_finishes(recipe, cluster):  # noqa: F811
    worker = [sys.executable, "-c", WORKER, "JOB"]
    call = recipe.start("--requeue", "--gpu", "1", "JOB=1:2", "log/x.JOB.log", *worker)
    sudden = recipe.start("--partition", "sudden", "--gpu", "1", "JOB=3", "log/x.JOB.log", *worker)
    wait_for(lambda: len(list(recipe.folder.glob("start.*"))) == 3)
    later = detach(recipe, "--depend", re.search(r"submitted as (\d+)", call.stderr)[1], "log/later.log", "true")
    cluster.call("sbatch", "--partition", "high", "--gres=gpu:3", "--output=/dev/null", "--wrap", "sleep 1")
    wait_for(lambda: all(recipe.read(f"log/x.{job}.log").count("# To be started again") for job in (1, 2)))
    (recipe.folder / "go").touch()
    for each in (call, sudden):
        assert each.end() == 0, each.stderr
        assert "failed" not in each.stderr
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


def test_a_job_that_asks_is_started_again_and_the_others_go_on(recipe):
    """The one whose own id is also that of the array: a request in that name would hit all."""
    script = """
    echo start >> starts.PART
    [[ $SLURM_JOB_ID != "$SLURM_ARRAY_JOB_ID" || $(wc -l < starts.PART) == 2 ]] || exit 75
    while [[ $(cat starts.* | wc -l) -lt 3 ]]; do sleep 0.1; done"""
    result = recipe("--requeue", "PART=1:2", "x.PART.log", "bash", "-c", script)
    assert result.returncode == 0, result.stderr
    assert sorted(recipe.read(f"starts.{job}").count("start") for job in (1, 2)) == [1, 2]


def test_a_cancelled_job_is_not_requeued(recipe, cluster):  # noqa: F811
    script = "trap 'exit 75' TERM; touch on; while sleep 0.1; do :; done"
    call = recipe.start("--requeue", "x.log", "bash", "-c", script)
    wait_for((recipe.folder / "on").exists)
    cluster.call("scancel", re.search(r"submitted as (\d+)", call.stderr)[1])
    assert call.end() == 1
    assert "Slurm says CANCELLED" in call.stderr


# ---- signals, and calls at the same time -----------------------------------------------------------------------------

FAMILY = "sleep 60 & touch on.JOB; wait"


def jobs_of(cluster: Cluster, call: Started) -> str:  # noqa: F811
    number = re.search(r"submitted as (\d+)", call.stderr)[1]
    return cluster.call("squeue", "-h", "-j", number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_job_behind(recipe, cluster, number, status):  # noqa: F811
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


def test_a_call_that_was_killed_is_told_apart_and_its_jobs_are_found(recipe, cluster):  # noqa: F811
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


def test_die_with_parent(recipe, cluster):  # noqa: F811
    words = [sys.executable, str(recipe.tool), "--die-with-parent", "x.log", "bash", "-c", FAMILY]
    call = Started(["bash", "-c", '"$@"; true', "parent", *words], recipe.folder, recipe.env)
    wait_for((recipe.folder / "on.JOB").exists)
    call.process.kill()
    wait_for(lambda: "stopped by SIGTERM" in call.stderr)
    assert jobs_of(cluster, call) == ""


def test_two_recipes_at_once_do_not_mix(recipe, tool, cluster, tmp_path_factory):  # noqa: F811
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


# ---- detached


def detach(recipe: Recipe, *words: str) -> str:
    result = recipe("--detach", *words)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"\d+\n", result.stdout)
    return result.stdout.strip()


def test_a_later_stage_waits_for_an_earlier_and_status_follows_from_elsewhere(recipe, cluster):  # noqa: F811
    wait = "touch on.JOB; while [[ ! -e go ]]; do sleep 0.1; done; echo row > row.JOB"
    first = detach(recipe, "JOB=1:2", "exp/log/decode.JOB.log", "bash", "-c", wait)
    second = detach(recipe, "--depend", first, "exp/log/score.log", "bash", "-c", "cat row.1 row.2 > table")
    wait_for(lambda: (recipe.folder / "on.1").exists() and (recipe.folder / "on.2").exists())
    wait_for(lambda: "pending: None" not in recipe("status", "exp").stdout)  # the scheduler has yet to say why
    result = recipe("status", "exp")
    assert result.returncode == 0
    assert f"exp/log/decode.JOB.log: job {first}: 2 running\n  1-2 running on" in result.stdout
    assert f"exp/log/score.log: job {second}: 1 pending\n  1 pending: Dependency\n" in result.stdout
    (recipe.folder / "go").touch()
    wait_for(lambda: f"job {second}: 1 done" in recipe("status").stdout)
    assert recipe.read("table") == "row\nrow\n"
    assert f"job {first}: 2 done" in recipe("status", "exp/log").stdout


def test_what_depends_on_a_failed_job_is_not_left_hanging(recipe, cluster):  # noqa: F811
    first = detach(recipe, "JOB=1:2", "log/decode.JOB.log", "bash", "-c", "sleep 1; echo no rows; exit JOB")
    second = detach(recipe, "--depend", first, "log/score.log", "touch", "ran")
    result = wait_for(lambda: (found := recipe("status")).stdout.count("failed:") == 3 and found)
    assert f"job 2 ({first}_2 on" in result.stdout
    assert "failed: exit code 2; log: log/decode.2.log, which ends:\n    no rows\n" in result.stdout
    assert f"the job ({second}_1" in result.stdout
    assert "DependencyNeverSatisfied" in result.stdout
    wait_for(lambda: cluster.call("squeue", "-h", "-j", second) == "")
    assert not (recipe.folder / "ran").exists()


def test_an_array_that_is_cancelled_before_it_starts(recipe, cluster):  # noqa: F811
    (recipe.folder / "slurm.conf").write_text("option held=* --hold\n")
    number = detach(recipe, "--config", "slurm.conf", "--held", "yes", "JOB=1:2", "x.JOB.log", "touch", "ran")
    assert "1-2 pending: JobHeldUser" in recipe("status").stdout
    cluster.call("scancel", f"{number}_1", f"{number}_2")
    result = recipe("status")
    assert result.returncode == 1
    assert f"job 2 ({number}_2) failed: Slurm says CANCELLED" in result.stdout


def test_status_of_nothing_and_of_no_folder(offline):
    assert "no arrays below this folder" in offline("status").stdout
    result = offline("status", "nowhere")
    assert result.returncode == 2
    assert "there is no folder 'nowhere'" in result.stderr


def test_a_job_that_was_warned_of_its_time_limit_is_requeued(limited):
    wait_for(lambda: "# To be started again" in limited.read("x.log"), 60)
    (limited.folder / "go").touch()
    call = limited.started[0]
    assert call.end() == 0, call.stderr
    assert "warned, rows are saved" in limited.read("x.log")
    assert re.search("finished after [1-9] restarts", limited.read("x.log"))


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
def state():
    sys.path.insert(0, str(UTILS))
    import slurm_script
    import slurm_state

    sys.path.remove(str(UTILS))
    return slurm_script, slurm_state


def test_numbers_as_slurm_writes_them(state):
    script, _ = state
    assert script.spans([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert script.numbers_of("1-7:3,9,11-12%2") == [1, 4, 7, 9, 11, 12]


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
def test_what_a_record_of_slurm_means(state, code, restarts, record, expected):
    verdict = state[1].judge(code, restarts, record, settled="Restarts" in record)
    assert verdict[0] == expected[0]
    assert expected[1] in verdict[1]


def test_an_exit_file_that_is_late_is_waited_for(state):
    record = {"JobState": "COMPLETED", "EndTime": time.strftime("%Y-%m-%dT%H:%M:%S")}
    assert state[1].judge(None, 0, record, settled=False)[0] == "running"
