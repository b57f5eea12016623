"""local/sir.sh and what its commands run as: GPUs, names with JOB in them, what is counted, and what a kill leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.driving import Recipe, decode, features, write_program
from helpers.shells import ENVIRONMENT, alive, bash, pids_in, wait_for

GPUS = '#!/bin/sh\nfor n in 0 1; do echo "GPU $n: Some GPU (UUID: GPU-$n)"; done\n'
FEATURES = "--stage=2", "--stop-stage=2"


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path)


@pytest.fixture
def on_gpus(recipe, tmp_path):
    """On a machine with two GPUs."""
    write_program(tmp_path / "bin" / "nvidia-smi", GPUS)
    del recipe.env["CUDA_VISIBLE_DEVICES"]
    return recipe


def seen(recipe: Recipe) -> list[str]:
    return sorted(Path(f"{recipe.record}.gpus").read_text().split())


# ---- GPUs


def test_no_more_jobs_run_than_there_are_gpus_each_on_its_own(on_gpus):
    result = on_gpus.run(*FEATURES, "--nj=5")
    assert result.returncode == 0, result.stderr
    assert on_gpus.calls() == [features("1/2"), features("2/2")]
    assert seen(on_gpus) == ["GPU-0", "GPU-1"]
    said = "This machine has GPUs for 2 of the 5 jobs that --nj asks for: 2 run, each on a GPU of its own"
    assert said in result.stdout
    assert "run.py: 2 jobs, each with a GPU of its own; log: " in result.stderr


def test_fewer_jobs_than_gpus(on_gpus):
    result = on_gpus.run(*FEATURES, "--nj=1")
    assert on_gpus.calls() == [features("1/1")]
    assert len(seen(on_gpus)) == 1
    assert "that --nj asks for" not in result.stdout


@pytest.mark.parametrize(
    ("given", "jobs", "expected"), [("1", 1, ["1"]), ("GPU-1,GPU-0", 2, ["GPU-0", "GPU-1"]), ("", 3, [])]
)
def test_what_the_user_makes_visible_is_respected(on_gpus, given, jobs, expected):
    assert on_gpus.run(*FEATURES, "--nj=3", env={"CUDA_VISIBLE_DEVICES": given}).returncode == 0
    assert on_gpus.calls() == [features(f"{job}/{jobs}") for job in range(1, jobs + 1)]
    assert seen(on_gpus) == expected


# ---- JOB


@pytest.mark.parametrize("name", ["JOB_4711", "JOB", "JOB_ JOB__"])
def test_what_the_user_calls_job_stays_as_it_is(recipe, name):
    config = f"conf/{name}.yaml"
    (recipe.egs / config).write_text("")
    words = ["--stage=2", "--stop-stage=3", "--model", f"/scratch/{name}", "--config", config]
    result = recipe.run(*words)
    assert result.returncode == 0, result.stderr
    expected = [make(f"{job}/2", f"/scratch/{name}", name) for make in (features, decode) for job in (1, 2)]
    assert recipe.calls() == [[config if word == "conf/decode.yaml" else word for word in call] for call in expected]
    logs = [recipe.egs / f"exp/{name}/test/log/decode.{job}.log" for job in (1, 2)]
    assert all(log.exists() for log in logs)
    assert sorted(path.name for path in (recipe.egs / "exp").iterdir()) == [name]


# ---- what is counted


@pytest.mark.parametrize(
    ("counted", "message"),
    [
        ("2/2 recordings, 2 failed", "but nothing succeeded: 2/2 recordings, 2 failed; see the logs"),
        ("1/2 recordings", "but only 1/2 recordings"),
    ],
)
def test_a_stage_of_which_nothing_or_not_all_is_there_stops_the_driver(recipe, counted, message):
    result = recipe.run("--stage=2", env={"PROGRESS": counted})
    assert result.returncode == 1
    assert message in result.stderr
    assert [call[0] for call in recipe.calls()] == ["features", "features"]
    asked = ["progress", "features", "data/test/cuts.jsonl.gz", "dump/mini/test"]
    assert Path(f"{recipe.record}.progress").read_text().splitlines() == asked


def test_the_place_of_the_logs_is_said_at_the_start(recipe):
    result = recipe.run("--stage=2", "--stop-stage=3")
    assert "run.py: 2 jobs; log: dump/mini/test/log/features.JOB.log\n" in result.stderr
    assert "run.py: 2 jobs; log: exp/mini/test/log/decode.JOB.log\n" in result.stderr


# ---- what a kill leaves


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("command", ["download", "prepare", "train-mini", "features", "decode", "score", "report"])
def test_nothing_outlives_a_killed_driver(recipe, command, number):
    """Neither the command nor what it has started."""
    (recipe.egs / "conf" / "train.yaml").write_text("")
    words = ["bash", str(recipe.egs / "run.sh"), "--nj=1", "--train=true"]
    env = {**ENVIRONMENT, **recipe.env, "SLEEP": command}
    driver = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL)
    pids = pids_in(Path(f"{recipe.record}.pid"), 2)
    driver.send_signal(number)
    driver.wait()
    wait_for(lambda: not any(map(alive, pids)))


def test_ctrl_c_ends_what_a_stage_has_started(recipe):
    """As a terminal does: to the whole foreground group."""
    env = {**ENVIRONMENT, **recipe.env, "SLEEP": "download"}
    driver = subprocess.Popen(
        ["bash", str(recipe.egs / "run.sh")], env=env, stdout=subprocess.DEVNULL, start_new_session=True
    )
    pids = pids_in(Path(f"{recipe.record}.pid"), 2)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(20) not in (0, None)
    wait_for(lambda: not any(map(alive, pids)))


def test_a_stages_own_exit_status_is_the_drivers(recipe):
    assert recipe.run("--stop-stage=0", env={"FAIL": "download"}).returncode == 3


# ---- what the user types


def test_messages_name_run_sh(recipe):
    for words in (["--stge", "3"], ["--stage", "6"], ["--cmd", "pbs"]):
        assert recipe.run(*words).stderr.startswith("run.sh: ")


def test_a_link_to_run_sh_works_from_anywhere(recipe, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").symlink_to(recipe.egs / "run.sh")
    (tmp_path / "again").symlink_to("elsewhere/mine")
    result = bash(tmp_path / "again", "--stop-stage=1", cwd=tmp_path, env=recipe.env)
    assert result.returncode == 0, result.stderr
    assert len(recipe.calls()) == 2
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["mine"]


# ---- other drivers

OTHER = """#!/usr/bin/env bash
set -euo pipefail
HERE=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
LAST_STAGE=1
. "$HERE/driver.sh"
declare +x names=a,b
settle() { out=exp/$(braces "$names"); }
show_stages() {
  show_stage 0 collect "the net -> $out"
  show_stage 1 weigh "$out -> RESULTS.md"
}
show_own_options() { show_options names "$names" "what to collect"; }
read_options "$@"
require names "$NAMES" "a list of names"
settle
need_speechprune
if wanted 0; then log "Stage 0: collect: -> $out"; fi
if wanted 1; then tied speechprune weigh "$out"; fi
"""


@pytest.fixture
def other(recipe):
    """A driver of another kind, without jobs."""
    write_program(recipe.top / "local" / "other.sh", OTHER)
    return lambda *words: bash(recipe.top / "local" / "other.sh", *words, cwd=recipe.egs, env=recipe.env)


def test_a_driver_of_another_kind_has_a_table_and_options_of_its_own(other, recipe):
    result = other("--help", "--names", "x,y")
    assert (result.returncode, result.stderr) == (0, "")
    assert "  0  collect   the net -> exp/{x,y}\n  1  weigh     exp/{x,y} -> RESULTS.md\n" in result.stdout
    listed = re.findall(r"^  --(\S+) +(\S+) ", result.stdout, re.MULTILINE)
    assert listed == [("stage", "0"), ("stop-stage", "1"), ("names", "x,y")]
    assert "'2' is not a stage: give a whole number from 0 to 1" in other("--stage=2").stderr
    assert "'a,,b' is not a list of names" in other("--names=a,,b").stderr
    assert other("--stage=1").returncode == 0
    assert recipe.recorded() == [["weigh", "exp/{a,b}"]]


def test_an_older_bash_is_told_what_is_needed(recipe):
    """What the bash of a Mac and that of CentOS 7 would say, if this one were them."""
    driver = recipe.top / "local" / "driver.sh"
    text = driver.read_text()
    assert text.count("BASH_VERSINFO[") == 2
    for major, minor, fails in ((3, 2, True), (4, 3, True), (4, 4, False), (5, 0, False)):
        driver.write_text(text.replace("BASH_VERSINFO[0]", str(major)).replace("BASH_VERSINFO[1]", str(minor)))
        result = recipe.run("--help")
        assert result.returncode == (2 if fails else 0)
        assert ("bash 4.4 or later is needed" in result.stderr) == fails
