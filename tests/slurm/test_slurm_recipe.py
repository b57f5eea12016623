"""A recipe on a real Slurm, with the real stages: the table of the local run, also when jobs are preempted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
from helpers.decoding import lines_of, make_recordings
from helpers.driving import Recipe
from helpers.shells import bash
from helpers.slurm_calls import Started, wait_for
from helpers.slurm_cluster import Cluster

from speechprune.data.cuts import write_cuts

SECONDS = (1.5, 1.0, 2.0, 1.0, 1.2, 1.0, 1.5) * 2
CONFIG = "systems: [original, {method: rap, rates: [0.4]}, {method: speechprune, rates: [0.4]}]\n"
ROWS = 3 * 3 * len(SECONDS)
USR1_PENDING = 1 << signal.SIGUSR1 - 1


def make(folder: Path, cluster: Cluster) -> Recipe:
    """A recipe whose stages 0 and 1 are done, with few and short recordings."""
    recipe = Recipe(folder)
    (folder / "bin" / "speechprune").unlink()
    path = f"{Path(sys.executable).parent}{os.pathsep}{cluster.env['PATH']}"
    recipe.env |= cluster.env | {"PATH": path, "XDG_CONFIG_HOME": str(folder / "config"), "OMP_NUM_THREADS": "1"}
    (recipe.egs / "conf" / "decode.yaml").write_text(CONFIG)
    return recipe


@pytest.fixture(scope="module")
def local(tmp_path_factory, cluster) -> Recipe:
    """What the same recipe gives on this machine."""
    recipe = make(tmp_path_factory.mktemp("local"), cluster)
    wavs = recipe.egs / "downloads"
    wavs.mkdir()
    write_cuts(recipe.egs / "data/test/cuts.jsonl.gz", make_recordings(wavs, SECONDS))
    result = run(recipe, "--stop-stage=4", "--nj=2")
    assert result.returncode == 0, result.stderr
    return recipe


def run(recipe: Recipe, *words: str):
    return bash(recipe.egs / "run.sh", "--stage=2", *words, cwd=recipe.egs, env=recipe.env, seconds=120)


def test_the_table_of_the_local_run(local, cluster, tmp_path):
    recipe = make(tmp_path, cluster)
    (recipe.egs / "data").symlink_to(local.egs / "data")
    result = run(recipe, "--stop-stage=4", "--cmd=slurm", "--nj=4", "--gpus=1")
    assert result.returncode == 0, result.stderr
    assert f"slurm.py: 4 / 4 jobs done, {len(SECONDS)}/{len(SECONDS)} recordings\n" in result.stderr
    assert f"slurm.py: 4 / 4 jobs done, {ROWS}/{ROWS} rows\n" in result.stderr
    for name in ("RESULTS.md", "score.json", "score.csv"):
        ours, theirs = (one.egs / "exp/mini/test" / name for one in (recipe, local))
        assert ours.read_text() == theirs.read_text()
    assert lines_of(recipe.egs / "exp") == lines_of(local.egs / "exp")


def test_a_preempted_rerun_completes_what_is_missing(local, cluster, tmp_path):
    recipe = make(tmp_path, cluster)
    (recipe.egs / "dump").symlink_to(local.egs / "dump")
    shutil.copytree(local.egs / "exp", recipe.egs / "exp")
    for path in (recipe.egs / "exp").rglob("hyp.*.jsonl"):  # each of the two jobs has decoded one recording
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    words = ["--stage=3", "--stop-stage=3", "--cmd=slurm", "--nj=1", "--gpus=1"]
    rows = recipe.egs / "exp/mini/test/original/hyp.1.jsonl"
    size = rows.stat().st_size
    call = Started(["bash", str(recipe.egs / "run.sh"), *words], recipe.egs, os.environ | recipe.env)
    wait_for(lambda: rows.stat().st_size > size, 90, pause=0.005)
    (pid,) = [pid for pid, command in cluster.processes() if "speechprune decode" in command and "--job 1/1" in command]
    os.kill(pid, signal.SIGSTOP)  # so that it is in the middle, however fast the machine is
    cluster.call("sbatch", "--partition", "high", "--gres=gpu:3", "--output=/dev/null", "--wrap", "sleep 1")
    wait_for(lambda: pending(pid) & USR1_PENDING)
    os.kill(pid, signal.SIGCONT)
    assert call.end(120) == 0, call.stderr

    first, second = (recipe.egs / "exp/mini/test/log/decode.1.log").read_text().split("# To be started again")
    left = int(re.search(r"stopped by SIGUSR1 with (\d+) recordings left", first)[1])
    assert 0 < left < len(SECONDS) - 2
    assert "# Ended (code 75) at" in first
    assert f"{left * 9} answered, {ROWS - left * 9} answered before" in second
    assert "was interrupted and starts again (restart 1)" in call.stderr
    assert f"slurm.py: 1 / 1 jobs done, {ROWS}/{ROWS} rows\n" in call.stderr
    assert lines_of(recipe.egs / "exp") == lines_of(local.egs / "exp")  # none is lost, doubled or changed


def pending(pid: int) -> int:
    """Signals that a process has not yet been given, as bits."""
    return int(re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)
