"""local/sir.sh on a real Slurm, with a `speechprune` that records its calls: progress, --detach, Ctrl-C."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.driving import ALL, Recipe, decode, features, report
from helpers.shells import ENVIRONMENT
from helpers.slurm_calls import Started, wait_for

SLURM = ["--cmd", "slurm", "--stage", "2"]


@pytest.fixture
def drivers(tmp_path, cluster):
    """Makes recipes, each in a checkout of its own."""

    def make(name: str = "one") -> Recipe:
        recipe = Recipe(tmp_path / name)
        path = f"{recipe.env['PATH'].partition(os.pathsep)[0]}{os.pathsep}{cluster.env['PATH']}"
        recipe.env |= cluster.env | {"PATH": path, "XDG_CONFIG_HOME": str(tmp_path / "config")}
        return recipe

    return make


def status(recipe: Recipe, stdout: str, cwd: Path) -> subprocess.CompletedProcess:
    """The command that the driver's last line names, in another shell, which does not know speechprune."""
    env = recipe.env | {"PATH": recipe.env["PATH"].partition(os.pathsep)[2]}
    command = shlex.split(stdout.splitlines()[-1])
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


def test_progress_is_asked_for_the_stage_and_a_shortfall_stops_the_driver(drivers):
    recipe = drivers()
    name = 'it\'s "my" model é'
    result = recipe.run(*SLURM, "--model", f"hub/{name}", "--nj=1", env={"PROGRESS": "1/2 rows"})
    assert result.returncode == 1
    assert "1 / 1 jobs done, but only 1/2 rows: " in result.stderr
    asked = ["progress", "features", "data/test/cuts.jsonl.gz", f"dump/{name}/test"]
    assert Path(f"{recipe.record}.progress").read_text().splitlines() == asked
    assert recipe.calls() == [features("1/1", f"hub/{name}", name)]
    assert recipe.run(*SLURM, "--stop-stage=3", "--nj=1").returncode == 0
    asked = ["progress", "decode", "dump/mini/test", "exp/mini/test", "--config", "conf/decode.yaml"]
    assert Path(f"{recipe.record}.progress").read_text().splitlines() == asked


def test_detached_stages_wait_for_one_another(drivers, tmp_path):
    recipe = drivers()
    words = [*SLURM, "--detach", "true", "--sets", "test,dev", "--gpus", "1", "--stop-stage=5"]
    result = recipe.run(*words, env={"WAIT": "features"})
    assert result.returncode == 0, result.stderr
    ids = re.search(r"Stages 2 to 5 of mini_sir: submitted: (\d+(?: \d+){5})\. ", result.stdout)[1].split()
    assert {call[0] for call in recipe.recorded()} <= {"features"}
    found = wait_for(lambda: (said := status(recipe, result.stdout, tmp_path).stdout).count("Dependency") == 4 and said)
    egs = recipe.egs.relative_to(tmp_path)
    for offset, name in ((0, "test"), (3, "dev")):
        assert f"{egs}/dump/mini/{name}/log/features.JOB.log: job {ids[offset]}: " in found
        assert f"{egs}/exp/mini/{name}/log/decode.JOB.log: job {ids[offset + 1]}: 2 pending" in found
        assert f"{egs}/exp/mini/{name}/log/score.log: job {ids[offset + 2]}: 1 pending" in found
    (recipe.egs / "go").touch()
    found = wait_for(lambda: (done := status(recipe, result.stdout, tmp_path)).stdout.count(": 1 done\n") == 2 and done)
    assert found.returncode == 0
    assert found.stdout.count("2 done, 2/2 rows\n") == 4
    # No job of theirs loads the model to draw.
    calls = [[word.replace("/dev", "/test") for word in call] for call in recipe.recorded()]
    assert sorted(calls) == sorted([*ALL[2:-1], report(embedding=False)] * 2)
    assert "| table of exp/mini/dev |" in (recipe.egs / "exp/mini/dev/log/score.log").read_text()


def test_what_fails_detached_is_told_and_nothing_waits_for_it(drivers, cluster, tmp_path):
    recipe = drivers()
    result = recipe.run("--cmd=slurm", "--detach=true", "--stage=1", "--stop-stage=4", "--nj=1", env={"FAIL": "decode"})
    assert result.returncode == 0
    found = wait_for(lambda: (said := status(recipe, result.stdout, tmp_path)).stdout.count("failed:") == 2 and said)
    assert found.returncode == 1
    assert "failed: exit code 3; log: " in found.stdout
    assert "which ends:\n    the reason\n" in found.stdout
    assert "DependencyNeverSatisfied" in found.stdout
    assert recipe.calls() == [[*ALL[1][:-1], "1"], features("1/1"), decode("1/1")]
    again = recipe.run("--cmd=slurm", "--detach=true", "--stage=3", "--stop-stage=4", "--nj=1")
    wait_for(lambda: status(recipe, again.stdout, tmp_path).stdout.count("1 done") == 3)  # features too
    assert recipe.calls()[2:] == [decode("1/1"), decode("1/1"), ALL[6]]


def test_a_refused_stage_ends_the_submission(drivers):
    recipe = drivers()
    (recipe.egs / "conf" / "slurm.conf").write_text("option gpu=0 --gres=gpu:99\n")
    result = recipe.run(*SLURM, "--detach", "true", "--nj=1", "--stop-stage=4", env={"WAIT": "features"})
    assert result.returncode == 1
    assert re.search(r"the rest was not submitted; submitted jobs go on: \d+ \d+\n$", result.stderr)
    (recipe.egs / "go").touch()


def test_ctrl_c_leaves_no_job_behind_and_another_recipe_alone(drivers, cluster):
    one, two = drivers("one"), drivers("two")
    calls = []
    for recipe in (one, two):
        words = ["bash", str(recipe.egs / "run.sh"), *SLURM, "--stop-stage=2"]
        call = Started(words, recipe.egs, {**ENVIRONMENT, **recipe.env, "WAIT": "features"}, group=True)
        wait_for(lambda recipe=recipe: recipe.record.exists() and len(recipe.calls()) == 2)
        calls.append(call)
    os.killpg(calls[0].process.pid, signal.SIGINT)  # as a terminal does
    assert calls[0].end() != 0
    assert "stopped by SIGINT" in calls[0].stderr
    first, second = (re.search(r"submitted as (\d+)", call.stderr)[1] for call in calls)
    assert cluster.call("squeue", "-h", "-j", first) == ""
    assert second in cluster.call("squeue", "-h", "-j", second)
    (two.egs / "go").touch()
    assert calls[1].end() == 0, calls[1].stderr
    assert [call[0] for call in two.calls()] == ["features"] * 2
